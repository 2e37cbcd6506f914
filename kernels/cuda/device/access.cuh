// Loads and stores of a few neighbouring floats at once: 8 or 16 bytes in one access where the caller knows them to be aligned,
// else one float at a time.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

// v = p[0 .. kWidth); elements from `count` on are not read and become 0. kAligned: p is a multiple of 4 kWidth bytes.
template <int kWidth, bool kAligned>
__device__ __forceinline__ void load(float (&v)[kWidth], const float* p, int64_t count) {
  if constexpr (kAligned && kWidth == 4) {
    if (count >= 4) {
      const float4 f = *reinterpret_cast<const float4*>(p);
      v[0] = f.x, v[1] = f.y, v[2] = f.z, v[3] = f.w;
      return;
    }
  }
  if constexpr (kAligned && kWidth == 2) {
    if (count >= 2) {
      const float2 f = *reinterpret_cast<const float2*>(p);
      v[0] = f.x, v[1] = f.y;
      return;
    }
  }
  for (int c = 0; c < kWidth; ++c)
    v[c] = c < count ? p[c] : 0.0f;
}

// p[0 .. min(kWidth, count)) = v.
template <int kWidth, bool kAligned>
__device__ __forceinline__ void store(float* p, const float (&v)[kWidth], int64_t count) {
  if constexpr (kAligned && kWidth == 4) {
    if (count >= 4) {
      *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
      return;
    }
  }
  if constexpr (kAligned && kWidth == 2) {
    if (count >= 2) {
      *reinterpret_cast<float2*>(p) = make_float2(v[0], v[1]);
      return;
    }
  }
  for (int c = 0; c < kWidth; ++c)
    if (c < count) p[c] = v[c];
}

}  // namespace KX_NAMESPACE
