#include "core/util/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/util/write_error.h"

namespace sage {

std::optional<FileLock> FileLock::take(const std::string& path, Kind kind) {
  for (;;) {
    FileLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (lock.fd_ < 0)
      throw WriteError("{}: cannot be made ({}); expected a writable folder; choose another output path", path,
                          std::strerror(errno));
    if (flock(lock.fd_, (kind == Kind::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 && errno == EWOULDBLOCK)
      return std::nullopt;
    // The holder before may have removed the file between our two calls: a lock on it would exclude nobody.
    struct stat ours {};
    struct stat there {};
    if (fstat(lock.fd_, &ours) == 0 && stat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino) return lock;
  }
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}
FileLock::FileLock(FileLock&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
FileLock& FileLock::operator=(FileLock&& o) noexcept {
  std::swap(fd_, o.fd_);
  return *this;
}

void FileLock::share() { flock(fd_, LOCK_SH | LOCK_NB); }

}  // namespace sage
