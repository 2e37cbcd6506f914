// Hidden states in memory and in their file.
#include "core/calibration/hidden_states.h"

#include <sys/resource.h>

#include <csignal>
#include <utility>

#include "core/util/files.h"
#include "tests/calibration/support.h"

namespace sage::test {
namespace {

void fill_and_check(HiddenStates& h) {
  for (int64_t i = 0; i < h.sequences(); ++i) {
    const View<float> s = h.sequence(i);
    for (int64_t t = 0; t < s.rows; ++t)
      for (int64_t j = 0; j < s.cols; ++j) {
        ASSERT_EQ(s(t, j), 0.0f);
        s(t, j) = static_cast<float>(i * 10000 + t * 100 + j);
      }
    h.release(i);
  }
  for (int64_t i = 0; i < h.sequences(); ++i) {
    const WeightView s = std::as_const(h).sequence(i);
    for (int64_t t = 0; t < s.rows; ++t)
      for (int64_t j = 0; j < s.cols; ++j)
        ASSERT_EQ(s(t, j), static_cast<float>(i * 10000 + t * 100 + j));
  }
}

TEST(HiddenStates, InMemoryBelowTheBudgetOtherwiseInAFile) {
  const TemporaryFolder folder;
  const uint64_t bytes = 5 * 70 * 33 * sizeof(float);
  HiddenStates memory(5, 70, 33, bytes, folder.path()), file(5, 70, 33, bytes - 1, folder.path());
  EXPECT_FALSE(memory.mapped());
  EXPECT_TRUE(file.mapped());
  EXPECT_EQ(file.bytes(), bytes);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));  // the file has no name
  fill_and_check(memory);
  fill_and_check(file);
  EXPECT_EQ(file.range(1, 3).rows, 140);
  EXPECT_EQ(file.range(1, 3)(70, 2), 20002.0f);
}

TEST(HiddenStates, Moves) {
  const TemporaryFolder folder;
  HiddenStates a(2, 3, 4, 0, folder.path());
  a.sequence(1)(2, 3) = 7;
  HiddenStates b = std::move(a);
  EXPECT_EQ(b.sequence(1)(2, 3), 7);
  HiddenStates c(1, 1, 1, 1 << 10);
  c = std::move(b);
  EXPECT_EQ(c.sequence(1)(2, 3), 7);
  EXPECT_TRUE(c.mapped());
}

// Released pages leave memory: many states pass through while few are resident.
TEST(HiddenStates, ReleasedPagesLeaveMemory) {
  const TemporaryFolder folder;
  const int64_t sequences = 24;
  HiddenStates h(sequences, 512, 512, 0, folder.path());  // 1 MiB each
  const uint64_t before = memory_use().resident;
  for (int64_t i = 0; i < sequences; ++i) {
    h.sequence(i)(511, 511) = 1;
    std::fill(h.sequence(i).data, h.sequence(i).data + 512 * 512, static_cast<float>(i));
    h.release(i);
    EXPECT_LT(memory_use().resident, before + (uint64_t{8} << 20));
  }
  for (int64_t i = 0; i < sequences; ++i)
    ASSERT_EQ(h.sequence(i)(100, 100), static_cast<float>(i));
}

TEST(HiddenStates, NoRoomIsAnError) {
  const TemporaryFolder folder;
  expect_words(message_of<ResourceError>([&] { HiddenStates(int64_t{1} << 20, 1 << 20, 1 << 12, 1 << 20, folder.path()); }),
               {folder.path(), "no room", "bytes", "SAGEPTQ_CACHE", "hidden_states_bytes"});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  EXPECT_THROW(HiddenStates(int64_t{1} << 40, int64_t{1} << 40, 8, 0, folder.path()), ResourceError);
  EXPECT_THROW(HiddenStates(0, 5, 5, 0, folder.path()), ResourceError);
  // A limit on file sizes stands for a full disk.
  rlimit old{};
  getrlimit(RLIMIT_FSIZE, &old);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit small = old;
  small.rlim_cur = 1 << 16;
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of<ResourceError>([&] { HiddenStates(4, 100, 100, 0, folder.path()); });
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  expect_words(message, {"no room", "160000 bytes"});
}

TEST(HiddenStates, UnwritableFolder) {
  const TemporaryFolder folder;
  write_file_atomically(folder.path() + "/file", "x");
  EXPECT_THROW(HiddenStates(4, 4, 4, 0, folder.path() + "/file/below"), ResourceError);
}

}  // namespace
}  // namespace sage::test
