#include "core/util/errors.h"
#include "kernels/cpu/operations.h"

namespace sage::cpu {

void CpuBackend::unit_moments(WeightView, const Selection&, const ScaleUnits&, std::span<const float>,
                              std::span<Moments>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}
double CpuBackend::residual_binarize(WeightView, const Selection&, const ScaleUnits&, const ResidualRule&,
                                     std::span<ResidualLevels>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::cpu
