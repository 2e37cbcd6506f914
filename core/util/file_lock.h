// A lock on a file made for it. It ends with its object or with the process, however that ends. Where a file system has no locks
// (some network disks) everybody gets one.
#pragma once

#include <optional>
#include <string>

namespace sage {

class FileLock {
 public:
  enum class Kind { kExclusive, kShared };
  // Nothing if another holder excludes it; never waits. Makes the file where it is absent. WriteError if that fails.
  static std::optional<FileLock> take(const std::string& path, Kind kind);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&& other) noexcept;
  void share();  // exclusive -> shared

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace sage
