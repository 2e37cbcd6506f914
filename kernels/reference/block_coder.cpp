#include "core/util/errors.h"
#include "kernels/reference/quantization.h"

namespace sage::reference {

void code_block(const BlockCoding&, WeightView, View<float>, View<uint8_t>, View<float>) {
  throw Error(ExitCode::kInternalError, "not written yet");
}

}  // namespace sage::reference
