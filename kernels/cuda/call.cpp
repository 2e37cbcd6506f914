#include "kernels/cuda/call.h"

namespace sage::cuda {

Call::Call(const DeviceBackend& backend, const char* operation)
    : backend_(backend), operation_(operation), lock_(backend.mutex_) {
  // A thread that never used the device before has none set.
  require(backend_.api_->set_device(0));
}

Call::~Call() {
  for (void* s : scratch_)
    backend_.memory_->give(s, stream());
}

void* Call::scratch_bytes(size_t bytes, bool zeroed) {
  scratch_.reserve(scratch_.size() + 1);
  void* memory = backend_.memory_->take(bytes, stream());
  scratch_.push_back(memory);
  if (zeroed && bytes > 0) require(backend_.api_->fill(memory, 0, bytes, stream()));
  return memory;
}

void Call::send(void* device, int64_t device_pitch, const void* host, int64_t host_pitch, int64_t width, int64_t rows) {
  host_memory_ = true;
  require(backend_.api_->copy(device, device_pitch, host, host_pitch, width, rows, Direction::kToDevice, stream()));
}

void Call::finish() {
  for (const Result& r : results_)
    require(backend_.api_->copy(r.host, r.host_pitch, r.device, r.device_pitch, r.width, r.rows, Direction::kToHost, stream()));
  if (host_memory_ || !results_.empty()) require(backend_.api_->synchronize(stream()));
}

}  // namespace sage::cuda
