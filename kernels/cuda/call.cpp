#include "kernels/cuda/call.h"

#include <algorithm>

namespace sage::cuda {

Call::Call(const DeviceBackend& backend, const char* operation)
    : backend_(backend), operation_(operation), lock_(backend.mutex_) {
  // A thread that never used the device before has none set.
  require(backend_.api_->set_device(0));
}

Call::~Call() {
  // After an exception: the caller's memory may be gone when a transfer that is still queued gets to it.
  if (host_memory_ && !finished_) static_cast<void>(backend_.api_->synchronize(stream()));
  give_from(0);
}

void Call::give_from(size_t first) noexcept {
  for (size_t s = first; s < scratch_.size(); ++s)
    backend_.memory_->give(scratch_[s], stream());
  scratch_.resize(std::min(first, scratch_.size()));
}

void* Call::scratch_bytes(size_t bytes, bool zeroed) {
  scratch_.reserve(scratch_.size() + 1);
  void* memory = backend_.memory_->take(bytes, stream(), operation_);
  scratch_.push_back(memory);
  if (zeroed && bytes > 0) require(backend_.api_->fill(memory, 0, bytes, stream()));
  return memory;
}

void Call::send(void* device, int64_t device_pitch, const void* host, int64_t host_pitch, int64_t width, int64_t rows) {
  host_memory_ = true;
  require(backend_.api_->copy(device, device_pitch, host, host_pitch, width, rows, Direction::kToDevice, stream()));
}

void Call::finish() {
  host_memory_ = host_memory_ || !results_.empty();
  for (const Result& r : results_)
    require(backend_.api_->copy(r.host, r.host_pitch, r.device, r.device_pitch, r.width, r.rows, Direction::kToHost, stream()));
  if (host_memory_) require(backend_.api_->synchronize(stream()));
  finished_ = true;
}

}  // namespace sage::cuda
