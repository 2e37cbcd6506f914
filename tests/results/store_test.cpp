#include "results/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "results/run_file.h"
#include "tests/results/samples.h"

namespace sage {
namespace {

using test::sample_record;
using test::TempFolder;
namespace fs = std::filesystem;

const std::string kKey = sample_record().run_key;

void set_age(const std::string& path, int seconds) {
  struct timespec now {};
  clock_gettime(CLOCK_REALTIME, &now);
  now.tv_sec -= seconds;
  const struct timespec both[2] = {now, now};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), both, 0), 0);
}

TEST(Store, Paths) {
  const Store s("/x");
  EXPECT_EQ(s.path_of(kKey), "/x/runs/ab/" + kKey + ".h5");
  EXPECT_EQ(s.failed_path_of(kKey), "/x/runs/ab/" + kKey + ".failed.h5");
  for (const char* bad : {"", "ab12", "../../../etc/passwd", "ABCDEF0123456789", "ab12cd34/5"})
    EXPECT_THROW(s.path_of(bad), UserError) << bad;
}

// A record is never changed, only moved: what was stored can be read, and what answers for the key is the newest.
TEST(Store, SetsRecordsAsideUnchanged) {
  const TempFolder dir;
  const Store s(dir.str());
  EXPECT_EQ(s.set_aside(kKey), "");
  std::vector<std::string> former;
  for (const char* label : {"first", "second", "third"}) {
    RunRecord r = sample_record();
    r.label = label;
    s.put(r);
    const std::string bytes = read_file(s.path_of(kKey));
    fs::create_directories(dir.str() + "/packed/" + kKey);
    former.push_back(s.set_aside(kKey));
    EXPECT_EQ(read_file(former.back()), bytes);
    EXPECT_FALSE(s.exists(kKey));
    EXPECT_FALSE(fs::exists(dir.str() + "/packed/" + kKey));
    EXPECT_TRUE(fs::exists(fmt::format("{}/packed/{}.former-{}", dir.str(), kKey, former.size())));
    EXPECT_TRUE(s.list().empty());
    EXPECT_TRUE(s.find(kKey.substr(0, 8)).empty());
    EXPECT_TRUE(s.claim(kKey).has_value()) << "it can be made again";
  }
  for (size_t i = 0; i < former.size(); ++i) EXPECT_EQ(read_run_file(former[i]).label, std::vector<std::string>({"first", "second", "third"})[i]);
  RunRecord newest = sample_record();
  newest.label = "newest";
  s.put(newest);
  EXPECT_EQ(s.get(kKey).label, "newest");
  EXPECT_EQ(s.list().size(), 1u);
}

TEST(Store, PutGetListFind) {
  const TempFolder dir;
  const Store s(dir.str());
  EXPECT_TRUE(s.list().empty());
  EXPECT_FALSE(s.exists(kKey));
  EXPECT_THROW(s.get(kKey), ResourceError);
  s.put(sample_record());
  EXPECT_TRUE(s.exists(kKey));
  EXPECT_EQ(s.get(kKey).label, sample_record().label);
  for (const RunRecord& r : test::sample_sweep())
    s.put(r);
  const std::vector<StoredRun> runs = s.list();
  ASSERT_EQ(runs.size(), 6u);
  for (size_t i = 1; i < runs.size(); ++i)
    EXPECT_LT(runs[i - 1].path, runs[i].path);
  EXPECT_EQ(s.find("ab12"), std::vector<std::string>{kKey});
  EXPECT_EQ(s.find("eeee").size(), 1u);  // failed runs are found too
  EXPECT_TRUE(s.failed(std::string(64, 'e')));
  EXPECT_EQ(s.get(std::string(64, 'e')).failure.exit_code, 1);
}

TEST(Store, CompleteReplacesFailedAndSweepsUpParts) {
  const TempFolder dir;
  const Store s(dir.str());
  RunRecord r = sample_record();
  r.status = "failed";
  s.put(r);
  EXPECT_TRUE(s.failed(kKey));
  write_file_atomically(s.path_of(kKey) + ".part.99999", "half");
  set_age(s.path_of(kKey) + ".part.99999", 4000);
  write_file_atomically(s.path_of(kKey) + ".part.99998", "of a writer at work");
  r.status = "complete";
  s.put(r);
  EXPECT_TRUE(s.exists(kKey));
  EXPECT_FALSE(fs::exists(s.failed_path_of(kKey)));
  EXPECT_FALSE(fs::exists(s.path_of(kKey) + ".part.99999"));
  EXPECT_TRUE(fs::exists(s.path_of(kKey) + ".part.99998"));
}

TEST(Store, ACompleteRecordIsNeverWrittenAgain) {
  const TempFolder dir;
  const Store s(dir.str());
  RunRecord r = sample_record();
  s.put(r);
  const std::string before = read_file(s.path_of(kKey));
  write_file_atomically(s.path_of(kKey) + ".part.99999", "of another writer");
  for (const char* status : {"complete", "failed"}) {
    r.status = status;
    r.label = "another";
    EXPECT_EQ(s.put(r), s.path_of(kKey));
    EXPECT_EQ(read_file(s.path_of(kKey)), before);
    EXPECT_FALSE(fs::exists(s.failed_path_of(kKey)));
  }
  EXPECT_TRUE(fs::exists(s.path_of(kKey) + ".part.99999"));
}

TEST(Store, KeepsOutputsOut) {
  const TempFolder dir;
  const Store s(dir / "store");
  make_folders(dir / "store/runs");
  for (const char* inside : {"store", "store/", "store/x", "store/runs/ab/x.h5", "other/../store/x"})
    EXPECT_THROW(s.keep_out(dir / inside), UserError) << inside;
  fs::create_directory_symlink(dir / "store", dir / "link");
  EXPECT_THROW(s.keep_out(dir / "link/x"), UserError);
  for (const char* outside : {"x", "store2", "stor", "store/../x"})
    EXPECT_NO_THROW(s.keep_out(dir / outside)) << outside;
}

TEST(Store, DamagedFilesAreListedNotThrown) {
  const TempFolder dir;
  const Store s(dir.str());
  s.put(sample_record());
  make_folders(dir / "runs/cd");
  write_file_atomically(dir / ("runs/cd/" + std::string(64, 'c') + ".h5"), "junk");
  const auto runs = s.list();
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].error, "");
  EXPECT_NE(runs[1].error, "");
}

TEST(Claim, OneHolder) {
  const TempFolder dir;
  const Store s(dir.str());
  auto first = s.claim(kKey);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(s.claim(kKey).has_value());
  EXPECT_TRUE(s.claim(std::string(64, 'f')).has_value());  // other runs are free
  write_file_atomically(first->folder() + "/layer_0000.h5", "checkpoint");
  first.reset();
  EXPECT_TRUE(fs::exists(s.pending_folder(kKey) + "/layer_0000.h5"));
  auto second = s.claim(kKey);
  ASSERT_TRUE(second.has_value());
  s.put(sample_record());
  second->finish();
  EXPECT_FALSE(fs::exists(s.pending_folder(kKey)));
  EXPECT_FALSE(s.claim(kKey).has_value());  // complete: nothing to claim
}

TEST(Claim, DeadProcessIsTakenOverAtOnce) {
  const TempFolder dir;
  const Store s(dir.str());
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto claim = s.claim(kKey);
    const char ok = claim ? 'y' : 'n';
    if (write(pipes[1], &ok, 1) != 1) _exit(1);
    for (;;)
      pause();
  }
  char ok = 0;
  ASSERT_EQ(read(pipes[0], &ok, 1), 1);
  EXPECT_EQ(ok, 'y');
  EXPECT_FALSE(s.claim(kKey).has_value());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  auto taken = s.claim(kKey);
  EXPECT_TRUE(taken.has_value());
  EXPECT_FALSE(s.claim(kKey).has_value());
  taken.reset();
  EXPECT_FALSE(fs::exists(s.pending_folder(kKey)));  // the dead worker's file went too
}

// In a container nobody may ever ask how a killed worker ended.
TEST(Claim, ZombieHoldsNothing) {
  const TempFolder dir;
  const Store s(dir.str());
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto claim = s.claim(kKey);
    if (write(pipes[1], "y", 1) != 1) _exit(1);
    for (;;)
      pause();
  }
  char ok = 0;
  ASSERT_EQ(read(pipes[0], &ok, 1), 1);
  EXPECT_TRUE(s.holder(kKey).starts_with("process " + std::to_string(child) + " on ")) << s.holder(kKey);
  kill(child, SIGKILL);
  siginfo_t ended;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);  // it stays a zombie
  EXPECT_EQ(s.holder(kKey), "");
  EXPECT_TRUE(s.claim(kKey).has_value());
  waitpid(child, nullptr, 0);
}

TEST(Claim, SilentOtherMachineIsTakenOverWhenItsTimeIsOld) {
  const TempFolder dir;
  const Store s(dir.str(), 60);
  make_folders(s.pending_folder(kKey));
  const std::string file = s.pending_folder(kKey) + "/claim.0";
  write_file_atomically(file, R"({"pid": 1, "host": "elsewhere", "space": "elsewhere", "start_time": "1"})");
  EXPECT_FALSE(s.claim(kKey).has_value());
  set_age(file, 30);
  EXPECT_FALSE(s.claim(kKey).has_value());
  set_age(file, 61);
  EXPECT_TRUE(s.claim(kKey).has_value());
}

TEST(Claim, UnreadableClaimIsRespectedUntilItIsOld) {
  const TempFolder dir;
  const Store s(dir.str(), 60);
  make_folders(s.pending_folder(kKey));
  const std::string file = s.pending_folder(kKey) + "/claim.0";
  write_file_atomically(file, "");
  EXPECT_FALSE(s.claim(kKey).has_value());
  set_age(file, 61);
  EXPECT_TRUE(s.claim(kKey).has_value());
}

TEST(Claim, HeartbeatKeepsALongClaimFresh) {
  const TempFolder dir;
  const Store s(dir.str(), 0.6);
  const auto held = s.claim(kKey);
  ASSERT_TRUE(held.has_value());
  for (int i = 0; i < 10; ++i) {
    usleep(120000);
    EXPECT_FALSE(s.claim(kKey).has_value());
  }
}

// Many workers fight for one run whose holder died; exactly one may win each round.
TEST(Claim, StaleTakeoverHasOneWinner) {
  const TempFolder dir;
  const Store s(dir.str(), 60);
  for (int round = 0; round < 20; ++round) {
    make_folders(s.pending_folder(kKey));
    const std::string file = s.pending_folder(kKey) + "/claim.0";
    write_file_atomically(file, R"({"pid": 1, "host": "elsewhere", "space": "elsewhere", "start_time": "1"})");
    set_age(file, 100);
    std::vector<std::optional<Claim>> claims(8);
    std::vector<std::thread> threads;
    for (auto& c : claims)
      threads.emplace_back([&c, &s] { c = s.claim(kKey); });
    for (auto& t : threads)
      t.join();
    int winners = 0;
    for (const auto& c : claims)
      winners += c.has_value();
    EXPECT_EQ(winners, 1);
  }
}

}  // namespace
}  // namespace sage
