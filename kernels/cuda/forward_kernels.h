// Launch wrappers of the elementwise kernels, norms and the rotary embedding of the forward pass. Conventions: kernel_table.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct ForwardKernels {
  // x += y
  int (*add)(float* x, int64_t ldx, const float* y, int64_t ldy, int64_t rows, int64_t cols, Stream stream) = nullptr;
};

// Tables of the two builds; `compiled` exists only in builds with CUDA.
ForwardKernels compiled_forward_kernels();
ForwardKernels emulated_forward_kernels();

}  // namespace sage::cuda
