// y = A x with int8 activations, by counting bits: exact integers inside.
//
// Let B_0 be the sign plane and I the id planes of a matrix with 2^g ids. A table of 2^g scales is a sum over the subsets S of
// the id bits (Walsh-Hadamard):  scale[id] = sum_S c_S (-1)^{id . S},  c_S = 2^-g sum_id scale[id] (-1)^{id . S}.  Hence
//   sum_j scale[id_j] sign_j q_j = sum_S c_S D_S,  D_S = sum_j (-1)^{B_S,j} q_j = (sum_j q_j) - 2 sum_{j: B_S,j = 1} q_j,
// B_S = B_0 xor the planes in S: 2^g products instead of two for each of 2^g masked groups. Shifts are such a table without
// B_0; they add the 2^g - 1 products of the xors of id planes alone (S = {} gives sum q). With q in two's complement, plane b
// of 8,
//   sum_{j: B,j = 1} q_j = sum_b w_b popc(B & plane_b),  w_b = 2^b, w_7 = -2^7.
//   y[i] = row_factor[i] * (step * sum_S c_S D_S + the salient list's part)
// Error against FP32 activations: at most step / 2 * sum_j |what the planes hold at (i, j)|, step = max |x| / 127 (and
// rounding).
//
//   scale_activations_kernel     elementwise.
//   quantize_activations_kernel  one block: maximum, then a warp makes four words (128 columns) of every plane by votes.
//   gemv_popc_kernel             a warp has kRows rows; a lane takes 128 weights of each at a time, 16-byte loads, and the 8
//                                words of activations they share from the cache. kBlocks: scales change with column blocks (a
//                                multiple of 128 columns): sums of 128 are turned to FP32 at once, by lane.
// Bytes: the planes once; the 8 activation planes (cols bytes) once a warp, from L1. Bound: POPC, a quarter of the issue rate
// on most devices: 2^g / 4 of them a weight. Deterministic: integers, and FP32 sums of fixed order.
#pragma once

#include "kernels/cuda/device/planes.cuh"

namespace KX_NAMESPACE {

constexpr int kPopcWarps = 8;

__global__ void __launch_bounds__(256)
    scale_activations_kernel(const float* x, const float* __restrict__ factor, int64_t n, float* out) {
  for (int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; j < n; j += int64_t{gridDim.x} * blockDim.x)
    out[j] = x[j] * __ldg(factor + j);
}

__global__ void __launch_bounds__(256)
    quantize_activations_kernel(const float* __restrict__ x, int64_t n, int64_t words, QuantizedActivations out) {
  __shared__ float largest[8];
  const int lane = static_cast<int>(threadIdx.x & 31u), warp = static_cast<int>(threadIdx.x >> 5);
  float m = 0.0f;
  for (int64_t j = threadIdx.x; j < n; j += 256)
    m = fmaxf(m, fabsf(__ldg(x + j)));
  for (int o = 16; o > 0; o >>= 1)
    m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, o));
  if (lane == 0) largest[warp] = m;
  __syncthreads();
  m = largest[0];
  for (int w = 1; w < 8; ++w)
    m = fmaxf(m, largest[w]);
  const float step = __fdiv_rn(m, 127.0f);
  if (threadIdx.x == 0) *out.step = step;
  for (int64_t quad = warp; quad < words / 4; quad += 8) {
    int sum = 0;
    for (int64_t w = 4 * quad; w < 4 * quad + 4; ++w) {
      const int64_t j = 32 * w + lane;
      int q = 0;
      // A largest value so small that the step is 0 is lost whole; denormal steps may round the quotient past 127.
      if (j < n && step > 0.0f) q = max(-127, min(127, __float2int_rn(__fdiv_rn(__ldg(x + j), step))));
      unsigned mine = 0;
      KX_UNROLL()
      for (int b = 0; b < sage::cuda::kActivationPlanes; ++b) {
        const unsigned plane = __ballot_sync(kAllLanes, q >> b & 1);
        if (lane == b) mine = plane;
      }
      if (lane < sage::cuda::kActivationPlanes) out.planes[lane * words + w] = mine;
      sum += q;
    }
    sum = __reduce_add_sync(kAllLanes, sum);
    if (lane == 0) out.sums[quad] = sum;
  }
}

// Sum of all q, in every lane.
__device__ __forceinline__ int activation_sum(const QuantizedActivations& q, int64_t words, int lane) {
  int sum = 0;
  for (int64_t quad = lane; quad < words / 4; quad += 32)
    sum += __ldg(q.sums + quad);
  return __reduce_add_sync(kAllLanes, sum);
}

// Products of a matrix with kIds id planes: first the 2^kIds with the sign plane, then, with shifts, those of id planes alone.
template <int kIds, bool kShift>
constexpr int kProducts = (1 << kIds) + (kShift ? (1 << kIds) - 1 : 0);

// Product p's plane word from the sign word and the id words. Resolved at compile time in unrolled loops.
template <int kIds>
__device__ __forceinline__ unsigned product_word(int p, unsigned sign, const unsigned (&id)[kIds > 0 ? kIds : 1]) {
  const bool signed_product = p < (1 << kIds);
  const int subset = signed_product ? p : p - (1 << kIds) + 1;
  unsigned word = signed_product ? sign : 0u;
  KX_UNROLL()
  for (int k = 0; k < kIds; ++k)
    if ((subset >> k & 1) != 0) word ^= id[k];
  return word;
}

// c_S of a table of numbers, in place.
template <int kIds>
__device__ __forceinline__ void walsh(float (&c)[1 << kIds]) {
  KX_UNROLL()
  for (int h = 1; h < (1 << kIds); h *= 2)
    KX_UNROLL()
  for (int s = 0; s < (1 << kIds); ++s)
    if ((s & h) == 0) {
      const float u = c[s], v = c[s + h];
      c[s] = u + v;
      c[s + h] = u - v;
    }
  KX_UNROLL()
  for (int s = 0; s < (1 << kIds); ++s)
    c[s] *= 1.0f / (1 << kIds);
}

// sum_S c_S D_S (and of the shifts): `total` is the sum of q, ones[p] the sum of q where plane p has a 1.
template <int kIds, bool kShift>
__device__ __forceinline__ float combine_products(const PackedView& a, int64_t unit, int total,
                                                  const int (&ones)[kProducts<kIds, kShift>]) {
  float c[1 << kIds], y = 0.0f;
  KX_UNROLL()
  for (int s = 0; s < (1 << kIds); ++s)
    c[s] = s < a.groups ? packed_number(a.scales, a.wide_numbers, unit + s) : 0.0f;
  walsh<kIds>(c);
  KX_UNROLL()
  for (int s = 0; s < (1 << kIds); ++s)
    y = fmaf(c[s], static_cast<float>(total - 2 * ones[s]), y);
  if constexpr (kShift) {
    KX_UNROLL()
    for (int s = 0; s < (1 << kIds); ++s)
      c[s] = s < a.groups ? packed_number(a.shifts, a.wide_numbers, unit + s) : 0.0f;
    walsh<kIds>(c);
    y = fmaf(c[0], static_cast<float>(total), y);
    KX_UNROLL()
    for (int s = 1; s < (1 << kIds); ++s)
      y = fmaf(c[s], static_cast<float>(total - 2 * ones[(1 << kIds) + s - 1]), y);
  }
  return y;
}

__device__ __forceinline__ unsigned word_of(const uint4& v, int c) { return c == 0 ? v.x : c == 1 ? v.y : c == 2 ? v.z : v.w; }

template <int kIds, bool kShift, bool kBlocks, int kRows>
__global__ void __launch_bounds__(kPopcWarps * 32)
    gemv_popc_kernel(PackedView a, QuantizedActivations q, const float* __restrict__ plane_x,
                     const float* __restrict__ salient_x, float* __restrict__ y) {
  constexpr int kAll = kProducts<kIds, kShift>;
  const int lane = static_cast<int>(threadIdx.x & 31u);
  const int64_t row0 = (int64_t{blockIdx.x} * kPopcWarps + (threadIdx.x >> 5)) * kRows;
  if (row0 >= a.rows) return;  // whole warps, and no barrier of the block follows
  const int64_t quads = a.words / 4;
  int ones[kRows][kAll] = {};
  float acc[kRows] = {};
  for (int64_t quad = lane; quad < quads; quad += 32) {
    uint4 x[sage::cuda::kActivationPlanes];
    KX_UNROLL()
    for (int b = 0; b < sage::cuda::kActivationPlanes; ++b)
      x[b] = __ldg(reinterpret_cast<const uint4*>(q.planes + b * a.words) + quad);
    KX_UNROLL()
    for (int r = 0; r < kRows; ++r) {
      const int64_t row = min(row0 + r, a.rows - 1);  // rows past the end repeat the last one and are not stored
      const uint4 sign = __ldcs(reinterpret_cast<const uint4*>(a.planes + row * a.words) + quad);
      uint4 id[kIds > 0 ? kIds : 1];
      KX_UNROLL()
      for (int k = 0; k < kIds; ++k)
        id[k] = __ldcs(reinterpret_cast<const uint4*>(a.planes + ((1 + k) * a.rows + row) * a.words) + quad);
      KX_UNROLL()
      for (int c = 0; c < 4; ++c) {
        unsigned ids[kIds > 0 ? kIds : 1] = {};
        KX_UNROLL()
        for (int k = 0; k < kIds; ++k)
          ids[k] = word_of(id[k], c);
        KX_UNROLL()
        for (int p = 0; p < kAll; ++p) {
          const unsigned word = product_word<kIds>(p, word_of(sign, c), ids);
          KX_UNROLL()
          for (int b = 0; b < sage::cuda::kActivationPlanes; ++b) {
            const int n = __popc(word & word_of(x[b], c));
            ones[r][p] += b == sage::cuda::kActivationPlanes - 1 ? -(n << b) : n << b;
          }
        }
      }
      if constexpr (kBlocks) {
        const int64_t block = min(packed_block(a, 128 * quad), a.blocks - 1);
        acc[r] += combine_products<kIds, kShift>(a, packed_unit(a, row, block), __ldg(q.sums + quad), ones[r]);
        KX_UNROLL()
        for (int p = 0; p < kAll; ++p)
          ones[r][p] = 0;
      }
    }
  }
  const float step = __ldg(q.step);
  const int total = kBlocks ? 0 : activation_sum(q, a.words, lane);
  KX_UNROLL()
  for (int r = 0; r < kRows; ++r) {
    const int64_t row = row0 + r;
    if (row >= a.rows) break;  // the same for all lanes
    float dense = 0.0f;
    if constexpr (kBlocks) {
      dense = packed_warp_sum(acc[r]);
    } else {
      KX_UNROLL()
      for (int p = 0; p < kAll; ++p)
        ones[r][p] = __reduce_add_sync(kAllLanes, ones[r][p]);
      dense = combine_products<kIds, kShift>(a, packed_unit(a, row, 0), total, ones[r]);
    }
    const float salient = packed_warp_sum(salient_part(a, row, lane, plane_x, salient_x));
    if (lane == 0) y[row] = with_row_factor(a, row, fmaf(step, dense, salient));
  }
}

}  // namespace KX_NAMESPACE
