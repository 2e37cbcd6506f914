// The k-th smallest deviation |w - center|, and the bits of those above a threshold.
//
// Order statistic: radix selection on the 31 bits of the deviation's float pattern, whose order is that of the magnitudes (NaN
// last), in three passes of 11, 10 and 10 bits. count_deviations_kernel counts, of the weights that share the bits chosen so
// far, those of each value of the next bits: in shared memory, four interleaved copies of the table so that equal values of
// neighbouring lanes seldom meet, then one atomic per block and value that occurred. narrow_kernel, one warp, finds the value
// that holds the k-th and leaves the table zero for the next pass. Integer counts are exact in any order.
// Bytes: 12 per weight. Bound: memory; shared atomics where many deviations are equal.
//
// deviation_above_kernel: a warp takes 128 columns of a row (512 bytes), a ballot gives 32 bits. Bytes: 4 1/8 per weight.
// Bound: memory.
#pragma once

#include "kernels/cuda/device/weights.cuh"

namespace KX_NAMESPACE {

constexpr int kCountThreads = 512, kCountCopies = 4;
constexpr int kBitsThreads = 256;
constexpr int kHalvesAtOnce = 4;  // half words of 32 bits

__device__ __forceinline__ unsigned deviation_bits(float w, float center) {
  return __float_as_uint(w - center) & kMagnitudeBits;
}

// Counts patterns p with p >> (shift + bits) == state->prefix by (p >> shift) % 2^bits.
__global__ void __launch_bounds__(kCountThreads)
    count_deviations_kernel(Weights w, float center, int shift, int bits, sage::cuda::RadixState* state) {
  __shared__ unsigned table[sage::cuda::RadixState::kMostBins * kCountCopies];
  const int bins = 1 << bits;
  for (int b = static_cast<int>(threadIdx.x); b < bins * kCountCopies; b += kCountThreads)
    table[b] = 0;
  __syncthreads();
  const unsigned prefix = state->prefix;
  const int copy = static_cast<int>(threadIdx.x) % kCountCopies;
  for (QuadWalk walk = grid_walk(w.rows, w.cols); walk.valid(); walk.next()) {
    const Quad q = load_quad(w, walk.row(), walk.col(), w.cols);
    for (int k = 0; k < 4; ++k) {
      if (k >= q.n) break;
      const unsigned p = deviation_bits(q.v[k], center);
      if (p >> (shift + bits) != prefix) continue;
      atomicAdd(&table[((p >> shift) & static_cast<unsigned>(bins - 1)) * kCountCopies + static_cast<unsigned>(copy)], 1u);
    }
  }
  __syncthreads();
  for (int b = static_cast<int>(threadIdx.x); b < bins; b += kCountThreads) {
    unsigned long long n = 0;
    for (int c = 0; c < kCountCopies; ++c)
      n += table[b * kCountCopies + c];
    if (n != 0) atomicAdd(&state->count[b], n);
  }
}

// One warp. Appends the bits of the bin that holds the k-th to the prefix. out: the result, or nullptr before the last pass.
__global__ void __launch_bounds__(32) narrow_kernel(sage::cuda::RadixState* state, unsigned long long k, int bits, float* out) {
  const int per_lane = (1 << bits) / 32, first = static_cast<int>(threadIdx.x) * per_lane;
  unsigned long long own = 0;
  for (int b = 0; b < per_lane; ++b)
    own += state->count[first + b];
  const unsigned long long start = state->below;
  unsigned long long upto = own;  // inclusive prefix sum over the lanes
  for (int delta = 1; delta < 32; delta *= 2) {
    const unsigned long long before = __shfl_up_sync(kAllLanes, upto, static_cast<unsigned>(delta));
    if (static_cast<int>(threadIdx.x) >= delta) upto += before;
  }
  unsigned long long below = start + upto - own;
  __syncwarp();  // shuffles do not order memory: every lane has read state->below before one writes it
  if (below <= k && k < below + own) {  // of exactly one lane
    int b = first;
    while (k >= below + state->count[b])
      below += state->count[b++];
    const unsigned prefix = state->prefix << bits | static_cast<unsigned>(b);
    state->prefix = prefix;
    state->below = below;
    if (out != nullptr) *out = __uint_as_float(prefix);
  }
  for (int b = 0; b < per_lane; ++b)
    state->count[first + b] = 0;
}

// halves: rows of 2 * ceil(cols / 64) half words, the lower half of a word first. Bits past the last column are 0.
__global__ void __launch_bounds__(kBitsThreads)
    deviation_above_kernel(Weights w, float center, float threshold, unsigned* halves) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t per_row = (w.cols + 63) / 64 * 2, units = (per_row + kHalvesAtOnce - 1) / kHalvesAtOnce;
  const int64_t warps = int64_t{gridDim.x} * (kBitsThreads / 32);
  for (int64_t row = blockIdx.y; row < w.rows; row += gridDim.y) {
    for (int64_t u = int64_t{blockIdx.x} * (kBitsThreads / 32) + threadIdx.x / 32; u < units; u += warps) {
      const int64_t first = u * kHalvesAtOnce;
      float x[kHalvesAtOnce];
      for (int h = 0; h < kHalvesAtOnce; ++h) {
        const int64_t col = (first + h) * 32 + lane;
        x[h] = col < w.cols ? w.data[row * w.ld + col] : 0.0f;
      }
      unsigned mine = 0;
      for (int h = 0; h < kHalvesAtOnce; ++h) {
        const bool above = (first + h) * 32 + lane < w.cols && fabsf(x[h] - center) > threshold;
        const unsigned bits = __ballot_sync(kAllLanes, above ? 1 : 0);
        if (lane == h) mine = bits;
      }
      if (lane < kHalvesAtOnce && first + lane < per_row) halves[row * per_row + first + lane] = mine;
    }
  }
}

}  // namespace KX_NAMESPACE
