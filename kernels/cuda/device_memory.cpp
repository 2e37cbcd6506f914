#include "kernels/cuda/device_memory.h"

#include <algorithm>

#include "kernels/cuda/status.h"

namespace sage::cuda {
namespace {

constexpr size_t kSmallStep = 512, kLargeStep = size_t{2} << 20, kLarge = size_t{1} << 20;

}  // namespace

DeviceMemory::DeviceMemory(Api& api, bool keep) : api_(api), keep_(keep) {
  uint64_t free_bytes = 0;
  check(api_, api_.memory_info(&free_bytes, &total_), "reading the size of device memory");
}

DeviceMemory::~DeviceMemory() {
  drop_kept();
  for (auto& [address, block] : taken_)
    release(block);
}

size_t DeviceMemory::rounded(size_t bytes) const {
  bytes = std::max<size_t>(bytes, 1);
  if (!keep_) return bytes;
  const size_t step = bytes < kLarge ? kSmallStep : kLargeStep;
  return (bytes + step - 1) / step * step;
}

void* DeviceMemory::take(size_t bytes, Stream stream, const char* user) {
  const std::lock_guard lock(mutex_);
  const size_t size = rounded(bytes);
  Block block;
  if (const auto it = kept_.lower_bound(size); it != kept_.end() && size >= it->first - it->first / 8) {
    block = it->second;
    kept_.erase(it);
    if (block.ended != nullptr) {
      if (const Status s = api_.wait(stream, block.ended); !s.ok()) {
        release(block);
        check(api_, s, fmt::format("{}: waiting for device memory to be free again", user));
      }
    }
  } else {
    block.bytes = size;
    Status s = api_.allocate(&block.memory, size);
    if (s.library == Status::Library::kRuntime && s.code == Api::kOutOfMemory && drop_kept())
      s = api_.allocate(&block.memory, size);
    check(api_, s,
          fmt::format("{}: taking {:.1f} MB of device memory ({:.1f} of {:.1f} MB in use by this program)", user,
                      static_cast<double>(size) / 1e6, static_cast<double>(in_use_) / 1e6, static_cast<double>(total_) / 1e6));
  }
  in_use_ += block.bytes;
  peak_ = std::max(peak_, in_use_);
  taken_.emplace(reinterpret_cast<uintptr_t>(block.memory), block);
  return block.memory;
}

void DeviceMemory::give(void* memory, Stream stream) noexcept {
  if (memory == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto it = taken_.find(reinterpret_cast<uintptr_t>(memory));
  if (it == taken_.end()) return;
  Block block = it->second;
  taken_.erase(it);
  in_use_ -= block.bytes;
  if (!keep_) {
    static_cast<void>(api_.synchronize(stream));
    release(block);
    return;
  }
  if (block.ended == nullptr && !api_.create_event(&block.ended).ok()) block.ended = nullptr;
  if (block.ended == nullptr || !api_.record(block.ended, stream).ok()) {
    release(block);  // cudaFree waits for the device by itself
    return;
  }
  kept_.emplace(block.bytes, block);
}

bool DeviceMemory::drop_kept() noexcept {
  const bool any = !kept_.empty();
  for (auto& [bytes, block] : kept_)
    release(block);
  kept_.clear();
  return any;
}

void DeviceMemory::release(Block& block) noexcept {
  if (block.ended != nullptr) static_cast<void>(api_.destroy_event(block.ended));
  static_cast<void>(api_.release(block.memory));
  block = {};
}

bool DeviceMemory::owns(const void* memory) const {
  const auto address = reinterpret_cast<uintptr_t>(memory);
  const std::lock_guard lock(mutex_);
  const auto next = taken_.upper_bound(address);
  if (next == taken_.begin()) return false;
  const auto& [first, block] = *std::prev(next);
  return address < first + block.bytes;
}

DeviceMemoryUse DeviceMemory::use() const {
  const std::lock_guard lock(mutex_);
  return {in_use_, peak_, total_};
}

void DeviceMemory::restart_peak() {
  const std::lock_guard lock(mutex_);
  peak_ = in_use_;
}

}  // namespace sage::cuda
