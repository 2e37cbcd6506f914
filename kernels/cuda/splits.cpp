#include "core/util/errors.h"
#include "kernels/cuda/device_backend.h"

namespace sage::cuda {

void DeviceBackend::split_errors(WeightView, const SplitTrials&, std::span<double>, std::span<int64_t>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::cuda
