// Rows of a packed matrix as FP32, for products with many vectors (cuBLAS multiplies them) and for evaluation.
//
// Values and order of operations are those of the decoder on the host, so rows are equal to its rows bit for bit (salient
// values stored as FP16 excepted): (shift + level) or level * column_scale, then * (row_factor * column_factor). A block has a
// row; thread by thread the columns, then, after a barrier, the salient list over them. Bytes: the planes in, 4 a weight out;
// bound by the writes. A product of T rows then reads them again: 8 bytes a weight through memory (L2, for panels that fit)
// where a product that unpacks tiles into shared memory would move 1 bit. At T >= 128 that is hidden behind the arithmetic of
// FP32 (2 T operations a weight); below, it is what such a kernel would save.
#pragma once

#include "kernels/cuda/device/planes.cuh"

namespace KX_NAMESPACE {

// row_factor * column_factor, the absent ones left out.
__device__ __forceinline__ float with_factors(const PackedView& a, int64_t row, int64_t column, float v) {
  if (a.row_factor == nullptr && a.column_factor == nullptr) return v;
  const float r = a.row_factor == nullptr ? 1.0f : __ldg(a.row_factor + row);
  return __fmul_rn(v, a.column_factor == nullptr ? r : __fmul_rn(r, __ldg(a.column_factor + column)));
}

__global__ void __launch_bounds__(256)
    dequantize_kernel(PackedView a, int64_t first, int64_t count, float* __restrict__ out, int64_t ld) {
  for (int64_t t = blockIdx.x; t < count; t += gridDim.x) {
    const int64_t row = first + t;
    float* to = out + t * ld;
    for (int64_t j = threadIdx.x; j < a.cols; j += blockDim.x) {
      unsigned code = 0;
      for (int p = 0; p <= a.id_planes; ++p)
        code |= (__ldg(a.planes + (p * a.rows + row) * a.words + (j >> 5)) >> (j & 31) & 1u) << p;
      float v = packed_level(a, packed_unit(a, row, packed_block(a, j)), code);
      if (a.column_scale != nullptr) v = __fmul_rn(v, __ldg(a.column_scale + j));
      to[j] = with_factors(a, row, j, v);
    }
    if (a.salient_begin == nullptr) continue;
    __syncthreads();
    for (int64_t k = __ldg(a.salient_begin + row) + threadIdx.x; k < __ldg(a.salient_begin + row + 1); k += blockDim.x) {
      const int64_t j = salient_column(a, k);
      to[j] = with_factors(a, row, j, packed_number(a.salient_values, a.wide_values, k));
    }
  }
}

}  // namespace KX_NAMESPACE
