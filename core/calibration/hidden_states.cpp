#include "core/calibration/hidden_states.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "core/util/lru_folder.h"

namespace sage {

namespace {

// A file without a name; on file systems that cannot make one, a named one whose name is removed at once.
int open_nameless(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string pattern = folder + "/states-XXXXXX";
  const int named = mkostemp(pattern.data(), O_CLOEXEC);
  if (named < 0)
    throw ResourceError("{}: no file can be made there ({}); expected a writable folder; set SAGEPTQ_CACHE to another one",
                        folder, std::strerror(errno));
  ::unlink(pattern.c_str());
  return named;
}

// All pages of anonymous memory or of a file of `bytes`; both start as zeros.
float* map(int fd, uint64_t bytes, const std::string& what) {
  const int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (p == MAP_FAILED)
    throw ResourceError(
        "{}: {} bytes cannot be mapped ({}); expected memory for the hidden states; take fewer or shorter calibration samples",
        what, bytes, std::strerror(errno));
  return static_cast<float*>(p);
}

uint64_t memory_available() {
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("MemAvailable:")) return std::strtoull(line.c_str() + line.find(':') + 1, nullptr, 10) * 1024;
  return 0;
}

}  // namespace

HiddenStates::HiddenStates(int64_t sequences, int64_t length, int64_t width, uint64_t memory_budget_bytes,
                           const std::string& folder)
    : sequences_(sequences), length_(length), width_(width) {
  int64_t floats = 0;
  if (sequences < 1 || length < 1 || width < 1 || __builtin_mul_overflow(sequences, length, &floats) ||
      __builtin_mul_overflow(floats, width, &floats) || floats > int64_t{1} << 60)
    throw ResourceError("hidden states: {} sequences of {} x {}; expected sizes that fit an address space; take fewer samples",
                        sequences, length, width);
  bytes_ = static_cast<uint64_t>(floats) * sizeof(float);
  if (bytes_ <= memory_budget_bytes) {
    data_ = map(-1, bytes_, "hidden states in memory");
    return;
  }
  std::string place = folder;
  int fd = -1;
  try {
    if (place.empty()) place = cache_folder() + "/hidden";
    make_folders(place);
    fd = open_nameless(place);
  } catch (const ResourceError& e) {
    // Only on a machine that holds them twice over: with less, an end now is better than one by the kernel later.
    if (!folder.empty() || bytes_ > memory_available() / 2) throw;
    warn_without_cache(e.what());
    data_ = map(-1, bytes_, "hidden states in memory");
    return;
  }
  // posix_fallocate reports through its result; a page that has no room behind it would end the program when written.
  int code = 0;
  do {
    code = posix_fallocate(fd, 0, static_cast<off_t>(bytes_));
  } while (code == EINTR);
  if (code != 0) {
    ::close(fd);
    throw ResourceError(
        "{}: no room for the hidden states ({}); expected {} bytes; free some space, set SAGEPTQ_CACHE to a larger disk, raise "
        "calibration.hidden_states_bytes, or take fewer samples",
        place, std::strerror(code), bytes_);
  }
  try {
    data_ = map(fd, bytes_, place);
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
  mapped_ = true;
  log_debug("hidden states: {} bytes in a file in {}", bytes_, place);
}

HiddenStates::~HiddenStates() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

HiddenStates::HiddenStates(HiddenStates&& o) noexcept
    : sequences_(o.sequences_),
      length_(o.length_),
      width_(o.width_),
      bytes_(o.bytes_),
      mapped_(o.mapped_),
      data_(std::exchange(o.data_, nullptr)) {}

HiddenStates& HiddenStates::operator=(HiddenStates&& o) noexcept {
  std::swap(sequences_, o.sequences_);
  std::swap(length_, o.length_);
  std::swap(width_, o.width_);
  std::swap(bytes_, o.bytes_);
  std::swap(mapped_, o.mapped_);
  std::swap(data_, o.data_);
  return *this;
}

void HiddenStates::release(int64_t i) {
  if (!mapped_) return;
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t size = bytes_ / static_cast<uint64_t>(sequences_);
  const uint64_t first = static_cast<uint64_t>(i) * size / page * page;
  // Pages shared with a neighbour only come back a little earlier than they could have.
  const uint64_t last = std::min(bytes_, (static_cast<uint64_t>(i) + 1) * size);
  madvise(reinterpret_cast<std::byte*>(data_) + first, last - first, MADV_DONTNEED);
}

}  // namespace sage
