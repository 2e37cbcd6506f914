// Magnitude histogram: count, sum |w| and sum w^2 of every bin of float patterns.
//
// All patterns of a bin are base | l with l < 2^shift <= 2^12, and their values (M + l) * 2^e with one M and e per bin. Integer
// sums of 1, l and l^2 give the two sums exactly: sum |w| = (n M + L) 2^e, sum w^2 = (n M^2 + 2 M L + Q) 2^2e. So
//
//   count_magnitudes_kernel    adds to the three counters of a weight's bin in global memory, 64-bit integer atomics, exact in
//                              any order; a thread a quad, a grid apart. Zeros, the one value that weights share in numbers,
//                              are counted in registers and added once per warp.
//   sum_magnitudes_kernel      turns counters into doubles, each rounded once; bins coarser than 12 bits are sums of fine ones,
//                              one thread (a warp where there is more than one fine bin) per coarse bin, in a fixed order.
//
// Bytes: 4 1/8 per weight read; 24 per fine bin zeroed, read, and 24 per coarse bin written (12.5 MB each at 12 bits). Bound:
// three atomics per weight in the second-level cache, several times the time of reading the weight.
#pragma once

#include "kernels/cuda/device/moments.cuh"

namespace KX_NAMESPACE {

constexpr int kHistogramThreads = 256;

__global__ void __launch_bounds__(kHistogramThreads)
    count_magnitudes_kernel(Weights w, sage::cuda::OwnedBits own, int shift, sage::cuda::MagnitudeBin* bins) {
  unsigned zeros = 0;
  for (QuadWalk walk = grid_walk(w.rows, w.cols); walk.valid(); walk.next()) {
    const Quad q = load_quad(w, walk.row(), walk.col(), w.cols);
    const unsigned owned = owned_bits(own, walk.row(), walk.col(), q.n);
    for (int k = 0; k < 4; ++k) {
      const unsigned p = __float_as_uint(q.v[k]) & kMagnitudeBits;
      if ((owned >> k & 1u) == 0 || p >= kInfinityBits) continue;
      if (p == 0) {
        ++zeros;
        continue;
      }
      sage::cuda::MagnitudeBin& bin = bins[p >> shift];
      const unsigned long long low = p & ((1u << shift) - 1);
      atomicAdd(&bin.count, 1ull);
      if (low == 0) continue;
      atomicAdd(&bin.low, low);
      atomicAdd(&bin.low_sq, low * low);
    }
  }
  zeros = __reduce_add_sync(kAllLanes, zeros);
  if (threadIdx.x % 32 == 0 && zeros != 0) atomicAdd(&bins[0].count, static_cast<unsigned long long>(zeros));
}

struct MagnitudeSums {
  unsigned long long count;
  double sum, sq_sum;
};
__device__ __forceinline__ void merge(MagnitudeSums& s, const MagnitudeSums& other) {
  s.count += other.count;
  s.sum += other.sum;
  s.sq_sum += other.sq_sum;
}

// The sums of fine bin `at`.
__device__ __forceinline__ MagnitudeSums magnitude_sums(const sage::cuda::MagnitudeBin& bin, int64_t at, int fine) {
  if (bin.count == 0) return {0, 0, 0};
  const auto base = static_cast<unsigned>(at << fine);
  const unsigned exponent = base >> 23;
  const unsigned mantissa = (base & 0x7fffffu) | (exponent == 0 ? 0u : 0x800000u);
  const int scale = (exponent == 0 ? 1 : static_cast<int>(exponent)) - 150;  // value = (mantissa + l) * 2^scale
  const unsigned __int128 n = bin.count, m = mantissa;
  return {bin.count, ldexp(static_cast<double>(n * m + bin.low), scale),
          ldexp(static_cast<double>(n * m * m + 2 * m * bin.low + bin.low_sq), 2 * scale)};
}

// kLanes: 1 or 32 threads per coarse bin of `per_coarse` fine ones.
template <int kLanes>
__global__ void __launch_bounds__(kHistogramThreads)
    sum_magnitudes_kernel(const sage::cuda::MagnitudeBin* bins, int fine, int64_t per_coarse, int64_t coarse_bins,
                          int64_t* count, double* sum, double* sq_sum) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t c = (int64_t{blockIdx.x} * kHistogramThreads + threadIdx.x) / kLanes;
  if (c >= coarse_bins) return;  // whole groups of lanes, which are whole warps where they fold
  MagnitudeSums s = {0, 0, 0};
  for (int64_t b = lane; b < per_coarse; b += kLanes)
    merge(s, magnitude_sums(bins[c * per_coarse + b], c * per_coarse + b, fine));
  if constexpr (kLanes > 1) fold_lanes(s, kAllLanes, kLanes);
  if (lane != 0) return;
  count[c] = static_cast<int64_t>(s.count);
  sum[c] = s.sum;
  sq_sum[c] = s.sq_sum;
}

}  // namespace KX_NAMESPACE
