// Output paths as people type them, and locks between processes.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "core/util/errors.h"
#include "core/util/file_lock.h"
#include "core/util/files.h"
#include "core/util/output_path.h"
#include "tests/results/samples.h"

namespace sage {
namespace {

using test::TempFolder;
namespace fs = std::filesystem;

TEST(OutputPath, SlashesAreForgiven) {
  const TempFolder dir;
  const std::string x = dir / "x", xy = dir / "x/y";
  for (const char* typed : {"x", "x/", "x//", "x/.", "x/./"})
    EXPECT_EQ(output_path(dir / typed), x) << typed;
  for (const char* typed : {"x/y/", "x//y", "x///y//"})
    EXPECT_EQ(new_output_path(dir / typed), xy) << typed;
  EXPECT_EQ(output_path("new/"), "new");
  EXPECT_EQ(output_path("/"), "/");
  EXPECT_EQ(output_path("./"), ".");
  EXPECT_FALSE(fs::exists(dir / "x"));
}

TEST(OutputPath, WhatCannotBeMadeIsRefusedAtOnce) {
  const TempFolder dir;
  write_file_atomically(dir / "file", "x");
  make_folders(dir / "folder");
  fs::create_symlink(dir / "nowhere", dir / "link");
  for (const auto& check : {output_path, new_output_path, output_file_path}) {
    EXPECT_THROW(check("", "-o"), UserError);
    EXPECT_THROW(check(dir / "file/x", "-o"), ResourceError);
    EXPECT_THROW(check(dir / "link/x", "-o"), ResourceError);
  }
  for (const char* there : {"file", "folder", "folder/", "link"})
    EXPECT_THROW(new_output_path(dir / there), UserError) << there;
  EXPECT_THROW(output_file_path(dir / "folder"), UserError);
  EXPECT_THROW(output_file_path(dir / "new/"), UserError);
  EXPECT_EQ(output_file_path(dir / "file"), dir / "file");
}

TEST(OutputPath, AFolderThatCannotBeWrittenIsRefusedAtOnce) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  const TempFolder dir;
  make_folders(dir / "folder");
  fs::permissions(dir / "folder", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THROW(output_path(dir / "folder/x"), ResourceError);
}

TEST(FileLock, ExcludesUntilItsHolderEnds) {
  const TempFolder dir;
  const std::string path = dir / "lock";
  const auto take = [&](FileLock::Kind kind) { return FileLock::take(path, kind); };
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto held = take(FileLock::Kind::kExclusive);
    if (write(ready[1], "y", 1) != 1) _exit(1);
    for (;;)
      pause();
  }
  char c = 0;
  ASSERT_EQ(read(ready[0], &c, 1), 1);
  EXPECT_FALSE(take(FileLock::Kind::kExclusive).has_value());
  EXPECT_FALSE(take(FileLock::Kind::kShared).has_value());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  auto lock = take(FileLock::Kind::kExclusive);
  ASSERT_TRUE(lock.has_value());
  EXPECT_FALSE(take(FileLock::Kind::kShared).has_value());
  lock->share();
  EXPECT_TRUE(take(FileLock::Kind::kShared).has_value());
  EXPECT_FALSE(take(FileLock::Kind::kExclusive).has_value());
  // A file that was removed under its lock locks nobody out of a new one.
  fs::remove(path);
  EXPECT_TRUE(take(FileLock::Kind::kExclusive).has_value());
}

}  // namespace
}  // namespace sage
