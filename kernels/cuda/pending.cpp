// Operations whose kernels are still to come.
#include "core/util/errors.h"
#include "kernels/cuda/device_backend.h"

namespace sage::cuda {
namespace {

[[noreturn]] void pending(const char* operation) {
  throw Error(ExitCode::kInternalError, fmt::format("{}: no kernel yet", operation));
}

}  // namespace

// statistics.cpp
MatrixStats DeviceBackend::matrix_stats(WeightView) const { pending("matrix_stats"); }
float DeviceBackend::deviation_order_statistic(WeightView, float, int64_t) const { pending("deviation_order_statistic"); }
BitMask DeviceBackend::deviation_above(WeightView, float, float) const { pending("deviation_above"); }
void DeviceBackend::row_sq_sums(WeightView, std::span<double>) const { pending("row_sq_sums"); }
void DeviceBackend::column_sq_sums(WeightView, std::span<double>) const { pending("column_sq_sums"); }
MagnitudeHistogram DeviceBackend::magnitude_histogram(WeightView, const Selection&, int) const {
  pending("magnitude_histogram");
}
void DeviceBackend::assign_by_magnitude(WeightView, std::span<const float>, uint8_t*) const { pending("assign_by_magnitude"); }
void DeviceBackend::group_moments(WeightView, const Selection&, const GroupMap&, std::span<Moments>) const {
  pending("group_moments");
}
double DeviceBackend::squared_distance(WeightView, WeightView) const { pending("squared_distance"); }
void DeviceBackend::hadamard_rows(View<float>) const { pending("hadamard_rows"); }

}  // namespace sage::cuda
