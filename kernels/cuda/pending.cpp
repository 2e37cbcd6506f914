// Operations whose kernels are still to come.
#include "core/util/errors.h"
#include "kernels/cuda/device_backend.h"

namespace sage::cuda {
namespace {

[[noreturn]] void pending(const char* operation) {
  throw Error(ExitCode::kInternalError, fmt::format("{}: no kernel yet", operation));
}

}  // namespace

// forward.cpp
void DeviceBackend::linear(WeightView, WeightView, std::span<const float>, View<float>) const { pending("linear"); }
void DeviceBackend::rms_norm(WeightView, std::span<const float>, float, View<float>) const { pending("rms_norm"); }
void DeviceBackend::layer_norm(WeightView, std::span<const float>, std::span<const float>, float, View<float>) const {
  pending("layer_norm");
}
void DeviceBackend::rotary(View<float>, int, const RotaryTable&, int64_t) const { pending("rotary"); }
void DeviceBackend::silu_mul(WeightView, WeightView, View<float>) const { pending("silu_mul"); }
void DeviceBackend::relu(View<float>) const { pending("relu"); }

// attention.cpp
void DeviceBackend::attention(WeightView, WeightView, WeightView, const AttentionShape&, View<float>) const {
  pending("attention");
}

// calibration.cpp
void DeviceBackend::gram_update(WeightView, double, double, View<float>) const { pending("gram_update"); }
void DeviceBackend::gram_update(WeightView, double, double, View<double>) const { pending("gram_update"); }

// compensation.cpp
void DeviceBackend::subtract_outer(std::span<const float>, std::span<const float>, View<float>) const {
  pending("subtract_outer");
}
void DeviceBackend::subtract_product(WeightView, WeightView, View<float>) const { pending("subtract_product"); }

// head.cpp
void DeviceBackend::head_nll(WeightView, WeightView, std::span<const int32_t>, std::span<double>, std::span<int32_t>) const {
  pending("head_nll");
}
void DeviceBackend::head_divergence(WeightView, WeightView, WeightView, WeightView, std::span<double>, std::span<uint8_t>,
                                    std::span<const int32_t>, std::span<double>) const {
  pending("head_divergence");
}

}  // namespace sage::cuda
