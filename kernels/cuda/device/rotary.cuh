// Rotary embedding in two kernels: the angles of all positions once, then every head turned by them.
//
//   angle(t, i) = float(first + t) * inv_freq[i], an FP32 product as in the models' own code; its cosine and sine in double
//   (x[i], x[i + h]) <- (x[i] cos - x[i + h] sin, x[i + h] cos + x[i] sin),  h = head_dim / 2
//
// angles: a thread a (position, frequency); T h sincos in double, some hundred FP64 operations each: 4 million for 2048
// positions and heads of 128, microseconds even at 1/64 of the FP32 rate, so they are not kept between calls.
// rotate: a thread a pair; bound by memory: 8 bytes per element of x, and the angles (8 bytes a pair of one head) from the
// cache. Each result has its own thread and no sums: deterministic.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

// Frequencies travel as kernel arguments (4 KB at most in all): no copy that the host would have to wait for.
struct Frequencies {
  static constexpr int kMost = 512;
  int count;
  float value[kMost];
};

constexpr double kInversePi = 0.31830988618379067154;

// angle[t * half + first_pair + i] = (cos, sin) * factor, i < frequencies.count.
__global__ void rotary_angles_kernel(const Frequencies frequencies, int64_t first_pair, float factor, int64_t first_position,
                                     int64_t rows, int64_t half, float2* angle) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= frequencies.count) return;
  for (int64_t t = blockIdx.y; t < rows; t += gridDim.y) {
    // In half turns, whose reduction is exact, where sincos would keep a table for huge angles in local memory. The product
    // with 1 / pi is off by 2^-53 of the angle: 1e-10 at position 1e6.
    const double turns =
        static_cast<double>(__fmul_rn(static_cast<float>(first_position + t), frequencies.value[i])) * kInversePi;
    double s = 0, c = 0;
    sincospi(turns, &s, &c);
    angle[t * half + first_pair + i] =
        make_float2(static_cast<float>(c * static_cast<double>(factor)), static_cast<float>(s * static_cast<double>(factor)));
  }
}

__global__ void rotate_kernel(float* x, int64_t ldx, const float2* angle, int64_t rows, int64_t heads, int64_t half) {
  for (int64_t t = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; t < rows; t += int64_t{gridDim.y} * blockDim.y)
    for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < half; i += int64_t{gridDim.x} * blockDim.x) {
      const float2 by = angle[t * half + i];
      float* v = x + t * ldx + i;
      for (int64_t h = 0; h < heads; ++h, v += 2 * half) {
        const float a = v[0], b = v[half];
        v[0] = a * by.x - b * by.y;
        v[half] = b * by.x + a * by.y;
      }
    }
}

}  // namespace KX_NAMESPACE
