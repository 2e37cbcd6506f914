#include "core/util/errors.h"
#include "kernels/reference/quantization.h"

namespace sage::reference {

void unit_moments(WeightView, const Selection&, const ScaleUnits&, std::span<const float>, std::span<Moments>) {
  throw Error(ExitCode::kInternalError, "not written yet");
}
double residual_binarize(WeightView, const Selection&, const ScaleUnits&, const ResidualRule&, std::span<ResidualLevels>) {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::reference
