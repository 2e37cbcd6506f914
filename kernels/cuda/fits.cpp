#include "core/util/errors.h"
#include "kernels/cuda/device_backend.h"

namespace sage::cuda {

void DeviceBackend::unit_moments(WeightView, const Selection&, const ScaleUnits&, std::span<const float>,
                                 std::span<Moments>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}
double DeviceBackend::residual_binarize(WeightView, const Selection&, const ScaleUnits&, const ResidualRule&,
                                        std::span<ResidualLevels>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::cuda
