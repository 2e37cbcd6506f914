#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct AttentionKernels {};

AttentionKernels compiled_attention_kernels();
AttentionKernels emulated_attention_kernels();

}  // namespace sage::cuda
