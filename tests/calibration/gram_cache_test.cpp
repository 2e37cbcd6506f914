// The Gram cache: what comes back, what is refused, what goes first, and what a killed run leaves.
#include "core/calibration/gram_cache.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <optional>
#include <set>

#include "core/util/files.h"
#include "tests/calibration/support.h"

namespace sage::test {
namespace {

namespace fs = std::filesystem;

Gram gram_of(int64_t n, float first) {
  Gram g;
  g.sequences = 3;
  g.tokens = 48;
  g.matrix = Matrix(n, n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i; j < n; ++j)
      g.matrix(i, j) = g.matrix(j, i) = first + static_cast<float>(i * n + j) * 0.25f;
  return g;
}

bool same(const Gram& a, const Gram& b) {
  return a.sequences == b.sequences && a.tokens == b.tokens && a.matrix.size() == b.matrix.size() &&
         std::memcmp(a.matrix.data(), b.matrix.data(), sizeof(float) * static_cast<size_t>(a.matrix.size())) == 0;
}

int64_t files_in(const std::string& folder) { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }

class GramCacheTest : public testing::Test {
 protected:
  std::string bytes(const std::string& path) { return read_file(path); }
  TemporaryFolder folder_;
  GramCache cache_{folder_.path() + "/grams", uint64_t{1} << 20};
};

TEST_F(GramCacheTest, GivesBackWhatWasStored) {
  EXPECT_FALSE(cache_.find("k", "qkv", 33));
  const Gram g = gram_of(33, 1.5f);
  cache_.store("k", "qkv", g);
  const std::optional<Gram> found = cache_.find("k", "qkv", 33);
  ASSERT_TRUE(found);
  EXPECT_TRUE(same(*found, g));
  EXPECT_FALSE(cache_.find("k", "o", 33));
  EXPECT_FALSE(cache_.find("l", "qkv", 33));
  // The triangle alone is kept.
  EXPECT_LT(fs::file_size(cache_.path("k", "qkv")), 33u * 34u / 2 * 4 + 700);
  cache_.store("k", "qkv", gram_of(33, 2.5f));
  EXPECT_TRUE(same(*cache_.find("k", "qkv", 33), gram_of(33, 2.5f)));
  EXPECT_EQ(files_in(cache_.folder()), 1);
}

TEST_F(GramCacheTest, KeysTellEverythingApart) {
  std::set<std::string> keys;
  keys.insert(gram_key("m", "s", GramPrecision::kFp32, "cpu", 0, ""));
  keys.insert(gram_key("n", "s", GramPrecision::kFp32, "cpu", 0, ""));
  keys.insert(gram_key("m", "t", GramPrecision::kFp32, "cpu", 0, ""));
  keys.insert(gram_key("m", "s", GramPrecision::kFp64, "cpu", 0, ""));
  keys.insert(gram_key("m", "s", GramPrecision::kFp32, "reference", 0, ""));
  keys.insert(gram_key("m", "s", GramPrecision::kFp32, "cpu", 1, ""));
  keys.insert(gram_key("m", "s", GramPrecision::kFp32, "cpu", 0, "p"));
  EXPECT_EQ(keys.size(), 7u);
}

// Every single byte of the file matters: a flipped one is noticed, the file removed, and the Gram counts as absent.
TEST_F(GramCacheTest, DamageIsNoticed) {
  const Gram g = gram_of(6, 1);
  cache_.store("k", "qkv", g);
  const std::string path = cache_.path("k", "qkv"), whole = bytes(path);
  const auto refused = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    return !cache_.find("k", "qkv", 6) && !fs::exists(path);
  };
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    EXPECT_TRUE(refused(damaged)) << "byte " << i << ": " << whole[i] << " became " << damaged[i];
  }
  for (size_t n = 0; n < whole.size(); n += 7)
    EXPECT_TRUE(refused(whole.substr(0, n))) << n;
  EXPECT_TRUE(refused(whole + "x"));
  write_file_atomically(path, whole);
  EXPECT_TRUE(cache_.find("k", "qkv", 6));
  EXPECT_FALSE(cache_.find("k", "qkv", 7));  // another size than the caller's
}

// A file renamed to another key's name is not that key's Gram.
TEST_F(GramCacheTest, ForeignFile) {
  cache_.store("k", "qkv", gram_of(5, 1));
  fs::copy_file(cache_.path("k", "qkv"), cache_.path("other", "qkv"));
  EXPECT_FALSE(cache_.find("other", "qkv", 5));
}

TEST_F(GramCacheTest, LeastRecentlyUsedGoesFirst) {
  const Gram g = gram_of(40, 1);
  cache_.store("probe", "qkv", g);
  const uint64_t one = fs::file_size(cache_.path("probe", "qkv"));
  const GramCache small(folder_.path() + "/small", 3 * one + one / 2);
  const auto age = [&](const char* key, int hours) {
    fs::last_write_time(small.path(key, "qkv"), fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  small.store("a", "qkv", g);
  small.store("b", "qkv", g);
  small.store("c", "qkv", g);
  age("a", 5);
  age("b", 4);
  age("c", 3);
  EXPECT_TRUE(small.find("a", "qkv", 40));  // used: now the youngest
  std::ofstream(small.folder() + "/unrelated.txt") << "not ours";
  std::ofstream(small.folder() + "/x.gram.part.123") << "left by a killed run";
  fs::last_write_time(small.folder() + "/x.gram.part.123", fs::file_time_type::clock::now() - std::chrono::hours(2));
  std::ofstream(small.folder() + "/y.gram.part.124") << "being written by another run";
  small.store("d", "qkv", g);
  EXPECT_FALSE(small.find("b", "qkv", 40));
  EXPECT_TRUE(small.find("a", "qkv", 40));
  EXPECT_TRUE(small.find("c", "qkv", 40));
  EXPECT_TRUE(small.find("d", "qkv", 40));
  EXPECT_TRUE(fs::exists(small.folder() + "/unrelated.txt"));
  EXPECT_FALSE(fs::exists(small.folder() + "/x.gram.part.123"));
  EXPECT_TRUE(fs::exists(small.folder() + "/y.gram.part.124"));
}

TEST_F(GramCacheTest, Budgets) {
  const GramCache tiny(folder_.path() + "/tiny", 100), off(folder_.path() + "/off", 0);
  tiny.store("k", "qkv", gram_of(40, 1));
  off.store("k", "qkv", gram_of(2, 1));
  EXPECT_FALSE(tiny.find("k", "qkv", 40));
  EXPECT_FALSE(off.find("k", "qkv", 2));
  EXPECT_FALSE(fs::exists(folder_.path() + "/off"));
}

TEST_F(GramCacheTest, UnwritableFolderCostsAWarningOnly) {
  std::ofstream(folder_.path() + "/file") << "a file where a folder should be";
  const GramCache blocked(folder_.path() + "/file/grams", 1 << 20);
  EXPECT_NO_THROW(blocked.store("k", "qkv", gram_of(4, 1)));
  EXPECT_FALSE(blocked.find("k", "qkv", 4));
}

// Killed at arbitrary moments while it writes the same entry again and again: what is there afterwards is whole.
TEST_F(GramCacheTest, SurvivesBeingKilled) {
  const Gram g = gram_of(200, 1);
  cache_.store("k", "qkv", g);
  for (int round = 0; round < 8; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (;;)
        cache_.store("k", "qkv", g);
    }
    usleep(static_cast<useconds_t>(3000 + 2711 * round));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    const std::optional<Gram> found = cache_.find("k", "qkv", 200);
    ASSERT_TRUE(found) << round;
    EXPECT_TRUE(same(*found, g));
  }
}

TEST_F(GramCacheTest, DefaultFolder) { EXPECT_EQ(GramCache("", 1).folder(), cache_folder() + "/grams"); }

}  // namespace
}  // namespace sage::test
