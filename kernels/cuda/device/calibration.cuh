// Elementwise kernels of calibration and error compensation. Every thread takes elements `stride` apart in one row; grid.x
// walks the columns, grid.y the rows. Bound: memory.
//
// widen_kernel           out = double(x): 4 bytes read, 8 written an element.
// subtract_outer_kernel  x -= fl(u e^T): 4 read, 4 written. The product is rounded before it is subtracted, as where released
// code
//                        does it in two steps: intrinsics keep the compiler from fusing them.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

__global__ void widen_kernel(const float* x, int64_t ldx, int64_t rows, int64_t cols, double* out) {
  for (int64_t i = blockIdx.y; i < rows; i += gridDim.y)
    for (int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; j < cols; j += int64_t{gridDim.x} * blockDim.x)
      out[i * cols + j] = static_cast<double>(x[i * ldx + j]);
}

__global__ void subtract_outer_kernel(const float* u, const float* e, float* x, int64_t ldx, int64_t rows, int64_t cols) {
  for (int64_t i = blockIdx.y; i < rows; i += gridDim.y)
    for (int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; j < cols; j += int64_t{gridDim.x} * blockDim.x)
      x[i * ldx + j] = __fsub_rn(x[i * ldx + j], __fmul_rn(u[i], e[j]));
}

}  // namespace KX_NAMESPACE
