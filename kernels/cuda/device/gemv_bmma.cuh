// y = A x with int8 activations on the tensor cores: the arithmetic of gemv_popc.cuh (see there for the formulas), bit for bit.
//
// The 8 bit planes of the activations are the 8 columns of one 16 x 8 x 256 product of bits: c[row][b] += popc(A[row] &
// plane_b). Any order of words serves as long as weights and activations share it, so lanes load 16 bytes: lane 4 g + t has
// words 4 t .. 4 t + 3 of every 16 of rows g and g + 8, and of activation plane g.
//
// Work: a warp has 16 rows. Bytes: the planes once, the activation planes once a warp from L1. An mma does 16 x 256 weights
// times 8 planes, so instructions are few (2^ids mma for 4096 weights) and the bound is memory. One block of scales.
// Deterministic.
#pragma once

#include "kernels/cuda/device/gemv_popc.cuh"

namespace KX_NAMESPACE {

constexpr int kBmmaWarps = 4;
constexpr int kBmmaRows = 16;

// mma.m16n8k256 of bits with AND and population count. Fragments (PTX ISA), lane = 4 g + t: a[0], a[2]: words t, t + 4 of row
// g; a[1], a[3]: of row g + 8. b[0], b[1]: words t, t + 4 of column g. c[0], c[1]: row g, columns 2 t, 2 t + 1; c[2], c[3]: row
// g + 8.
__device__ __forceinline__ void bmma_and_popc(int (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if KX_EMULATED
  const int lane = static_cast<int>(threadIdx.x & 31u), g = lane >> 2, column = 2 * (lane & 3);
  for (int t = 0; t < 4; ++t) {  // the four lanes that hold a row's (a column's) eight words
    unsigned rows[4], columns[2][2];
    for (int i = 0; i < 4; ++i)
      rows[i] = __shfl_sync(kAllLanes, a[i], 4 * g + t);
    for (int n = 0; n < 2; ++n)
      for (int i = 0; i < 2; ++i)
        columns[n][i] = __shfl_sync(kAllLanes, b[i], 4 * (column + n) + t);
    for (int half = 0; half < 2; ++half)
      for (int n = 0; n < 2; ++n)
        c[2 * half + n] += __popc(rows[half] & columns[n][0]) + __popc(rows[2 + half] & columns[n][1]);
  }
#else
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// sum_b w_b popc_b of a row whose planes 2 t and 2 t + 1 are in lane t of its four.
__device__ __forceinline__ int weighted_planes(int even, int odd, int t) {
  int sum = (even << (2 * t)) + (t == 3 ? -(odd << 7) : odd << (2 * t + 1));
  sum += __shfl_xor_sync(kAllLanes, sum, 1);
  return sum + __shfl_xor_sync(kAllLanes, sum, 2);
}

template <int kIds, bool kShift>
__global__ void __launch_bounds__(kBmmaWarps * 32, 2)
    gemv_bmma_kernel(PackedView a, QuantizedActivations q, const float* __restrict__ plane_x,
                     const float* __restrict__ salient_x, float* __restrict__ y) {
  constexpr int kAll = kProducts<kIds, kShift>;
  const int lane = static_cast<int>(threadIdx.x & 31u), g = lane >> 2, t = lane & 3;
  const int64_t row0 = (int64_t{blockIdx.x} * kBmmaWarps + (threadIdx.x >> 5)) * kBmmaRows;
  if (row0 >= a.rows) return;  // whole warps, and no barrier of the block follows
  const int64_t quads = a.words / 4;
  // Rows past the end repeat the last one and are not stored.
  const int64_t upper = min(row0 + g, a.rows - 1), lower = min(row0 + g + 8, a.rows - 1);
  const uint4* up = reinterpret_cast<const uint4*>(a.planes) + upper * quads;
  const uint4* low = reinterpret_cast<const uint4*>(a.planes) + lower * quads;
  const uint4* x = reinterpret_cast<const uint4*>(q.planes) + g * quads;
  const int64_t plane = a.rows * quads;
  const uint4 zero = make_uint4(0u, 0u, 0u, 0u);

  int c[kAll][4] = {};
  KX_UNROLL(2)
  for (int64_t from = 0; from < quads; from += 4) {
    const int64_t quad = from + t;
    const bool inside = quad < quads;
    const uint4 xv = inside ? __ldg(x + quad) : zero;
    uint4 u[1 + kIds], v[1 + kIds];
    KX_UNROLL()
    for (int k = 0; k <= kIds; ++k) {
      u[k] = inside ? __ldcs(up + k * plane + quad) : zero;
      v[k] = inside ? __ldcs(low + k * plane + quad) : zero;
    }
    KX_UNROLL()
    for (int half = 0; half < 2; ++half) {
      const unsigned b[2] = {word_of(xv, 2 * half), word_of(xv, 2 * half + 1)};
      unsigned ids[4][kIds > 0 ? kIds : 1] = {};
      KX_UNROLL()
      for (int k = 0; k < kIds; ++k)
        KX_UNROLL()
      for (int i = 0; i < 4; ++i)
        ids[i][k] = word_of((i & 1) == 0 ? u[1 + k] : v[1 + k], 2 * half + (i >> 1));
      KX_UNROLL()
      for (int p = 0; p < kAll; ++p) {
        unsigned f[4];
        KX_UNROLL()
        for (int i = 0; i < 4; ++i)
          f[i] = product_word<kIds>(p, word_of((i & 1) == 0 ? u[0] : v[0], 2 * half + (i >> 1)), ids[i]);
        bmma_and_popc(c[p], f, b);
      }
    }
  }

  int ones_up[kAll], ones_low[kAll];
  KX_UNROLL()
  for (int p = 0; p < kAll; ++p) {
    ones_up[p] = weighted_planes(c[p][0], c[p][1], t);
    ones_low[p] = weighted_planes(c[p][2], c[p][3], t);
  }
  float salient_up = 0.0f, salient_low = 0.0f;
  if (a.salient_begin != nullptr)
    for (int r = 0; r < kBmmaRows && row0 + r < a.rows; ++r) {
      const float s = packed_warp_sum(salient_part(a, row0 + r, lane, plane_x, salient_x));
      if (r == g) salient_up = s;
      if (r == g + 8) salient_low = s;
    }
  const int total = activation_sum(q, a.words, lane);
  const float step = __ldg(q.step);
  if (t != 0) return;
  if (row0 + g < a.rows)
    y[upper] = with_row_factor(
        a, upper, fmaf(step, combine_products<kIds, kShift>(a, packed_unit(a, upper, 0), total, ones_up), salient_up));
  if (row0 + g + 8 < a.rows)
    y[lower] = with_row_factor(
        a, lower, fmaf(step, combine_products<kIds, kShift>(a, packed_unit(a, lower, 0), total, ones_low), salient_low));
}

}  // namespace KX_NAMESPACE
