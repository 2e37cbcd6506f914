// FP32 to 16-bit numbers, as tensor cores read them. Bound by memory: 4 bytes read and 2 written per element. Work split as in
// elementwise.cuh; the output is contiguous (row i starts at element i * cols).
//
// To nearest, ties to even. FP16: magnitudes from 65520 on become infinity, below 2^-25 zero; subnormals are kept. bfloat16 has
// the range of FP32. Infinities stay; every NaN becomes the NaN 0x7fff.
#pragma once

#include "kernels/cuda/device/elementwise.cuh"

namespace KX_NAMESPACE {

struct ToFloat16 {
  __device__ __forceinline__ static unsigned bits(float v) { return __half_as_ushort(__float2half_rn(v)); }
};
struct ToBfloat16 {
  __device__ __forceinline__ static unsigned bits(float v) { return __bfloat16_as_ushort(__float2bfloat16_rn(v)); }
};

// kWidth = 4: cols is a multiple of 4 (or there is one row), so that four results are one aligned store of 8 bytes.
template <class To, int kWidth>
__global__ void convert_kernel(const float* x, int64_t ldx, uint16_t* out, int64_t rows, int64_t cols) {
  for_each_stretch<kWidth>(rows, cols, [&](int64_t i, int64_t j, int64_t count) {
    float v[kWidth];
    load<kWidth, true>(v, x + i * ldx + j, count);
    uint16_t* to = out + i * cols + j;
    if constexpr (kWidth == 4) {
      if (count >= 4) {
        *reinterpret_cast<uint2*>(to) =
            make_uint2(To::bits(v[0]) | To::bits(v[1]) << 16, To::bits(v[2]) | To::bits(v[3]) << 16);
        return;
      }
    }
    for (int c = 0; c < kWidth; ++c)
      if (c < count) to[c] = static_cast<uint16_t>(To::bits(v[c]));
  });
}

}  // namespace KX_NAMESPACE
