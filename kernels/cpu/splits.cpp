#include "core/util/errors.h"
#include "kernels/cpu/operations.h"

namespace sage::cpu {

void CpuBackend::split_errors(WeightView, const SplitTrials&, std::span<double>, std::span<int64_t>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::cpu
