// Elementwise kernels. Every thread takes elements `stride` apart in one row; grid.x walks the columns, grid.y the rows.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

// x[i][j] += y[i][j]; rows ldx and ldy elements apart.
__global__ void add_kernel(float* x, int64_t ldx, const float* y, int64_t ldy, int64_t rows, int64_t cols) {
  for (int64_t i = blockIdx.y; i < rows; i += gridDim.y)
    for (int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; j < cols; j += int64_t{gridDim.x} * blockDim.x)
      x[i * ldx + j] += y[i * ldy + j];
}

}  // namespace KX_NAMESPACE
