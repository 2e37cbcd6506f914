// Elementwise kernels of the forward pass. A thread takes kWidth neighbouring elements of a row at a time (4 where pointers and
// pitches allow 16-byte accesses, else 1); grid.x walks the columns, grid.y the rows, both strided.
//
// FP32; each element depends on its own inputs alone. Bytes moved per element, and instructions where they are many (counted in
// the code for sm_90):
//   add        x += y                                        12
//   silu_mul   out = gate / (1 + exp(-gate)) * up            12; 50
//   relu       x = max(x, 0)                                  8
//   gelu       x = x Phi(x)                                   8; 80
//   fill_rows  y[i][j] = bias[j], or 0                        4; the bias comes from the cache
// All are bound by memory, but for gelu on devices that fetch 8 bytes in less time than they issue 80 instructions: by data
// sheets, an H100 needs about as long for either.
// Outputs may be inputs: an element is read by the thread that writes it, before it does.
#pragma once

#include "kernels/cuda/device/access.cuh"

namespace KX_NAMESPACE {

// f(row, column, count): for every stretch of kWidth elements; count of them, or fewer at a row's end, are inside the matrix.
template <int kWidth, class F>
__device__ __forceinline__ void for_each_stretch(int64_t rows, int64_t cols, const F& f) {
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kWidth;
  const int64_t stride = int64_t{gridDim.x} * blockDim.x * kWidth;
  for (int64_t i = blockIdx.y; i < rows; i += gridDim.y)
    for (int64_t j = first; j < cols; j += stride)
      f(i, j, cols - j);
}

template <int kWidth>
__global__ void add_kernel(float* x, int64_t ldx, const float* y, int64_t ldy, int64_t rows, int64_t cols) {
  for_each_stretch<kWidth>(rows, cols, [&](int64_t i, int64_t j, int64_t count) {
    float a[kWidth], b[kWidth];
    load<kWidth, true>(a, x + i * ldx + j, count);
    load<kWidth, true>(b, y + i * ldy + j, count);
    for (int c = 0; c < kWidth; ++c)
      a[c] += b[c];
    store<kWidth, true>(x + i * ldx + j, a, count);
  });
}

// exp(-gate) is infinite below -88.7: the quotient is then -0, as it should be to within 1e-37.
template <int kWidth>
__global__ void silu_mul_kernel(const float* gate, int64_t ldg, const float* up, int64_t ldu, float* out, int64_t ldo,
                                int64_t rows, int64_t cols) {
  for_each_stretch<kWidth>(rows, cols, [&](int64_t i, int64_t j, int64_t count) {
    float g[kWidth], u[kWidth];
    load<kWidth, true>(g, gate + i * ldg + j, count);
    load<kWidth, true>(u, up + i * ldu + j, count);
    for (int c = 0; c < kWidth; ++c)
      g[c] = g[c] / (1.0f + expf(-g[c])) * u[c];
    store<kWidth, true>(out + i * ldo + j, g, count);
  });
}

// A comparison, not fmaxf: a NaN stays.
template <int kWidth>
__global__ void relu_kernel(float* x, int64_t ldx, int64_t rows, int64_t cols) {
  for_each_stretch<kWidth>(rows, cols, [&](int64_t i, int64_t j, int64_t count) {
    float a[kWidth];
    load<kWidth, true>(a, x + i * ldx + j, count);
    for (int c = 0; c < kWidth; ++c)
      a[c] = a[c] < 0.0f ? 0.0f : a[c];
    store<kWidth, true>(x + i * ldx + j, a, count);
  });
}

// x Phi(x) = x / 2 erfc(z), z = -x / sqrt 2. For large z, erfc falls as exp(-z^2), so the rounding of z alone would cost a
// relative 2 z^2 2^-24 = 1e-5 at x = -13. What rounding took from z, dz, comes back by erfc(z + dz) = erfc(z) (1 - 2 z dz).
__device__ __forceinline__ float gelu(float x) {
  if (x > 15.0f) return x;      // Phi = 1 in FP32
  if (x < -15.0f) return 0.0f;  // below the smallest float
  constexpr double kExact = -0.70710678118654752440;
  constexpr float kHigh = static_cast<float>(kExact), kLow = static_cast<float>(kExact - static_cast<double>(kHigh));
  const float z = __fmul_rn(x, kHigh);
  const float dz = __fmaf_rn(x, kLow, __fmaf_rn(x, kHigh, -z));
  const float correction = z > 0.0f ? 1.0f - 2.0f * z * dz : 1.0f;
  return 0.5f * x * (erfcf(z) * correction);
}

template <int kWidth>
__global__ void gelu_kernel(float* x, int64_t ldx, int64_t rows, int64_t cols) {
  for_each_stretch<kWidth>(rows, cols, [&](int64_t i, int64_t j, int64_t count) {
    float a[kWidth];
    load<kWidth, true>(a, x + i * ldx + j, count);
    for (int c = 0; c < kWidth; ++c)
      a[c] = gelu(a[c]);
    store<kWidth, true>(x + i * ldx + j, a, count);
  });
}

// bias may be null.
template <int kWidth>
__global__ void fill_rows_kernel(float* y, int64_t ldy, const float* bias, int64_t rows, int64_t cols) {
  for_each_stretch<kWidth>(rows, cols, [&](int64_t i, int64_t j, int64_t count) {
    float b[kWidth] = {};
    if (bias != nullptr) load<kWidth, true>(b, bias + j, count);
    store<kWidth, true>(y + i * ldy + j, b, count);
  });
}

}  // namespace KX_NAMESPACE
