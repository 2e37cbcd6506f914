// Device memory in blocks that are kept for reuse: cudaMalloc synchronises the device and costs up to a millisecond, and an
// operation takes scratch memory at every call.
//
// A block freed while the device may still read it carries the event that ends its use; whoever gets it next makes its own
// stream wait for that event. Sizes are rounded up to 512 bytes below 1 MiB and to 2 MiB above, and a kept block serves a
// request that fills at least 7/8 of it, so in_use overstates what was asked for by at most an eighth (plus rounding). When the
// device has no memory left, kept blocks are given back and the request is tried once more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "core/backend/backend.h"
#include "kernels/cuda/api.h"

namespace sage::cuda {

class DeviceMemory {
 public:
  // keep = false: every block has exactly the size asked for and is freed at once, so that a memory checker sees overruns.
  DeviceMemory(Api& api, bool keep);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // For work queued on `stream` from now on. `user` is named in errors: an operation, or what the memory is for. ResourceError:
  // no memory left (says how much was asked for and is in use).
  void* take(size_t bytes, Stream stream, const char* user);
  // No operation uses the block any more but those queued on `stream` so far. Never throws: a failing device is noticed by the
  // next operation.
  void give(void* block, Stream stream) noexcept;

  // Whether `memory` lies in a block handed out.
  bool owns(const void* memory) const;
  DeviceMemoryUse use() const;
  void restart_peak();

 private:
  struct Block {
    void* memory = nullptr;
    size_t bytes = 0;
    Event ended = nullptr;  // nullptr: no use was ever queued, or it has ended
  };
  size_t rounded(size_t bytes) const;
  bool drop_kept() noexcept;
  void release(Block& block) noexcept;

  Api& api_;
  const bool keep_;
  mutable std::mutex mutex_;
  std::map<uintptr_t, Block> taken_;   // by address
  std::multimap<size_t, Block> kept_;  // by size
  uint64_t in_use_ = 0, peak_ = 0, total_ = 0;
};

}  // namespace sage::cuda
