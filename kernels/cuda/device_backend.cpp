#include "kernels/cuda/device_backend.h"

#include "kernels/cuda/call.h"
#include "kernels/cuda/device_choice.h"
#include "kernels/cuda/status.h"

namespace sage::cuda {

DeviceBackend::DeviceBackend(std::unique_ptr<Api> api, KernelTable kernels, Precision precision, DeviceSizes sizes)
    : api_(std::move(api)), kernels_(kernels), precision_(precision), sizes_(sizes) {
  info_ = require_device(*api_);
  check(*api_, api_->set_device(0), "taking device 0");
  memory_ = std::make_unique<DeviceMemory>(*api_, sizes_.keep_memory);
  check(*api_, api_->create_stream(&compute_), "making the compute stream");
  try {
    mirrors_ = std::make_unique<Mirrors>(*api_, *memory_, compute_, sizes_.pinned_bytes);
  } catch (...) {
    static_cast<void>(api_->destroy_stream(compute_));
    throw;
  }
  timeline_ = std::make_unique<Timeline>(*api_, compute_);
}

DeviceBackend::~DeviceBackend() {
  static_cast<void>(api_->synchronize(compute_));
  timeline_.reset();
  mirrors_.reset();
  memory_.reset();
  static_cast<void>(api_->destroy_stream(compute_));
}

std::string DeviceBackend::name() const {
  switch (precision_) {
    case Precision::kFloat32: break;
    case Precision::kFloat16: return api_->name() + "-fp16";
    case Precision::kBfloat16: return api_->name() + "-bf16";
  }
  return api_->name();
}

std::string DeviceBackend::description() const { return words(info_); }

std::shared_ptr<void> DeviceBackend::allocate(size_t bytes) const {
  return {memory_->take(bytes, compute_, "allocate"), [this](void* block) { memory_->give(block, compute_); }};
}

HeldMemory DeviceBackend::hold(WeightView w) const {
  if (w.size() == 0) return nullptr;
  const auto span = timeline_->span("transfer", fmt::format("{} x {}", w.rows, w.cols), mirrors_->stream());
  HeldMemory held = mirrors_->hold(w);
  if (held == nullptr) return nullptr;
  // An operation of another thread may have found this copy, of memory that both hold: holds end between operations.
  const void* host = held.get();
  return {host, [this, held = std::move(held)](const void*) mutable {
            const std::lock_guard lock(mutex_);
            held.reset();
          }};
}

void DeviceBackend::copy(Pitched<const void*> from, Pitched<void*> to, int64_t width_bytes, int64_t rows) const {
  if (width_bytes <= 0 || rows <= 0) return;
  const bool from_device = memory_->owns(from.data), to_device = memory_->owns(to.data);
  if (!from_device && !to_device) return Backend::copy(from, to, width_bytes, rows);
  const Call call(*this, "copy");
  const Direction direction = !from_device ? Direction::kToDevice : to_device ? Direction::kOnDevice : Direction::kToHost;
  check(*api_, api_->copy(to.data, to.pitch_bytes, from.data, from.pitch_bytes, width_bytes, rows, direction, compute_),
        "copy");
  check(*api_, api_->synchronize(compute_), "copy");
}

DeviceMemoryUse DeviceBackend::device_memory() const { return memory_->use(); }
void DeviceBackend::restart_peak() const { memory_->restart_peak(); }

void DeviceBackend::record_timeline(bool on) const { timeline_->record(on); }
std::shared_ptr<const void> DeviceBackend::span(const std::string& what) const {
  return timeline_->span("compute", what, compute_);
}
std::vector<TimelineEntry> DeviceBackend::timeline() const { return timeline_->entries(); }

}  // namespace sage::cuda
