// Launch wrappers of the elementwise kernels, norms, conversions and the rotary embedding of the forward pass. Conventions:
// kernel_table.h. What each computes, and at which cost, is in device/{elementwise,norms,convert,rotary}.cuh.
#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct ForwardKernels {
  // x += y
  int (*add)(float* x, int64_t ldx, const float* y, int64_t ldy, int64_t rows, int64_t cols, Stream stream) = nullptr;
  // out = silu(gate) * up; out may be either
  int (*silu_mul)(const float* gate, int64_t ldg, const float* up, int64_t ldu, float* out, int64_t ldo, int64_t rows,
                  int64_t cols, Stream stream) = nullptr;
  int (*relu)(float* x, int64_t ldx, int64_t rows, int64_t cols, Stream stream) = nullptr;
  int (*gelu)(float* x, int64_t ldx, int64_t rows, int64_t cols, Stream stream) = nullptr;
  // y[i][j] = bias[j], or 0 where bias is null
  int (*fill_rows)(float* y, int64_t ldy, const float* bias, int64_t rows, int64_t cols, Stream stream) = nullptr;

  // out: contiguous numbers of the 16-bit kind `to`
  int (*convert)(const float* x, int64_t ldx, int64_t rows, int64_t cols, Number to, void* out, Stream stream) = nullptr;

  // y may be x
  int (*rms_norm)(const float* x, int64_t ldx, const float* gamma, float eps, float* y, int64_t ldy, int64_t rows, int64_t cols,
                  Stream stream) = nullptr;
  int (*layer_norm)(const float* x, int64_t ldx, const float* gamma, const float* beta, float eps, float* y, int64_t ldy,
                    int64_t rows, int64_t cols, Stream stream) = nullptr;

  // In place. inv_freq: host memory, `half` values, read before the call returns; angles: scratch for 2 rows half floats.
  int (*rotary)(float* x, int64_t ldx, int64_t rows, int64_t heads, int64_t half, const double* inv_freq, float factor,
                int64_t first_position, float* angles, Stream stream) = nullptr;
};

// Tables of the two builds; `compiled` exists only in builds with CUDA.
ForwardKernels compiled_forward_kernels();
ForwardKernels emulated_forward_kernels();

}  // namespace sage::cuda
