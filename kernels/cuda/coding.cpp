#include "core/util/errors.h"
#include "kernels/cuda/device_backend.h"

namespace sage::cuda {

void DeviceBackend::code_block(const BlockCoding&, WeightView, View<float>, View<uint8_t>, View<float>) const {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::cuda
