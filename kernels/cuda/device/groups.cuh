// Groups of single weights: their ids by magnitude, and the moments of each group.
//
// assign_by_magnitude_kernel: id = number of cuts <= |w|, a binary search in shared memory, a thread a quad. Bytes: 5 per
// weight. Bound: memory for few cuts, shared memory for many (one read per weight and bit of the number of cuts).
//
// label_moments_kernel: every thread owns a column of a table in shared memory (sum w, sum |w|, sum w^2, count: 28 bytes for
// each group) and adds the quads it meets to it, so there is nothing to race for; then the lanes of a warp fold the columns of
// a group in a tree, and the block writes one Moments per group, which sum_columns_kernel (moments.cuh) folds over the blocks.
// label_threads() columns fill 48 KB: 128 threads up to 13 groups, 16 at 64, 8 at 256 (56 KB). Few threads cost latency, not
// memory traffic: with 256 groups a multiprocessor holds one to three warps of 8 lanes, and a weight takes its thread three
// dependent reads and writes of shared memory (order of 50 cycles). Labels come from the host at one byte per weight, and the
// bus is the bound before that: arithmetic puts 256 groups near its speed and small numbers far above. Not measured.
// Bytes: 5 1/8 per weight read, 32 per group and block written and read.
//
// The order of a sum: a thread's weights by number of quad, threads in a tree, blocks in the order of sum_columns_kernel.
#pragma once

#include "kernels/cuda/device/moments.cuh"

namespace KX_NAMESPACE {

constexpr int kAssignThreads = 256, kMostCuts = 256;
constexpr int kMostLabelThreads = 128, kLeastLabelThreads = 8;
constexpr size_t kLabelEntryBytes = 3 * sizeof(double) + sizeof(unsigned);

// steps: the search takes 2^steps - 1 >= count cuts. words: four ids may be written as one word.
__global__ void __launch_bounds__(kAssignThreads)
    assign_by_magnitude_kernel(Weights w, const float* cuts, int count, int steps, uint8_t* out, bool words) {
  __shared__ float sorted[kMostCuts];
  // NaN is at most no magnitude, not even an infinite one.
  for (int c = static_cast<int>(threadIdx.x); c < kMostCuts; c += kAssignThreads)
    sorted[c] = c < count ? cuts[c] : __uint_as_float(kMagnitudeBits);
  __syncthreads();
  for (QuadWalk walk = grid_walk(w.rows, w.cols); walk.valid(); walk.next()) {
    const Quad q = load_quad(w, walk.row(), walk.col(), w.cols);
    unsigned ids = 0;
    for (int k = 0; k < 4; ++k) {
      const float a = fabsf(q.v[k]);
      int n = 0;
      for (int step = 1 << steps >> 1; step > 0; step /= 2)
        if (sorted[n + step - 1] <= a) n += step;
      ids |= static_cast<unsigned>(n) << (8 * k);
    }
    uint8_t* to = out + walk.row() * w.cols + walk.col();
    if (words && q.n == 4) {
      *reinterpret_cast<unsigned*>(to) = ids;
    } else {
      for (int k = 0; k < q.n; ++k)
        to[k] = static_cast<uint8_t>(ids >> (8 * k));
    }
  }
}

// A quad with its labels and ownership bits.
struct LabelledQuad {
  Quad q;
  unsigned labels, owned;
};
__device__ __forceinline__ LabelledQuad load_labelled(const Weights& w, const sage::cuda::OwnedBits& own, const uint8_t* labels,
                                                      bool words, const QuadWalk& walk) {
  LabelledQuad l;
  l.q = load_quad(w, walk.row(), walk.col(), w.cols);
  l.owned = owned_bits(own, walk.row(), walk.col(), l.q.n);
  const uint8_t* at = labels + walk.row() * w.cols + walk.col();
  if (words && l.q.n == 4) {
    l.labels = *reinterpret_cast<const unsigned*>(at);
  } else {
    l.labels = 0;
    for (int k = 0; k < l.q.n; ++k)
      l.labels |= static_cast<unsigned>(at[k]) << (8 * k);
  }
  return l;
}

// blockDim.x: a power of two. words: four labels may be read as one word.
__global__ void __launch_bounds__(kMostLabelThreads)
    label_moments_kernel(Weights w, sage::cuda::OwnedBits own, const uint8_t* labels, bool words, int groups,
                         sage::Moments* parts, int* out_of_range) {
  KX_DYNAMIC_SHARED(double, table);
  const int threads = static_cast<int>(blockDim.x), t = static_cast<int>(threadIdx.x), size = groups * threads;
  double *sum = table, *abs_sum = sum + size, *sq_sum = abs_sum + size;
  auto* count = reinterpret_cast<unsigned*>(sq_sum + size);
  for (int at = t; at < size; at += threads) {  // the own column
    sum[at] = abs_sum[at] = sq_sum[at] = 0;
    count[at] = 0;
  }
  bool wrong = false;
  QuadWalk walk = grid_walk(w.rows, w.cols);
  LabelledQuad next = {};
  if (walk.valid()) next = load_labelled(w, own, labels, words, walk);
  while (walk.valid()) {
    const LabelledQuad now = next;
    walk.next();
    if (walk.valid()) next = load_labelled(w, own, labels, words, walk);  // on its way while the table is updated
    for (int k = 0; k < 4; ++k) {
      if (k >= now.q.n) break;
      const int label = static_cast<int>(now.labels >> (8 * k) & 255u);
      if (label >= groups) {
        wrong = true;
        continue;
      }
      if ((now.owned >> k & 1u) == 0) continue;
      const int at = label * threads + t;
      const auto x = static_cast<double>(now.q.v[k]);
      sum[at] += x;
      abs_sum[at] += fabs(x);
      sq_sum[at] += x * x;
      ++count[at];
    }
  }
  if (wrong) atomicOr(out_of_range, 1);
  __syncthreads();
  const int width = threads < 32 ? threads : 32, warps = threads / width, lane = t % width;
  const unsigned mask = width == 32 ? kAllLanes : (1u << width) - 1;
  for (int g = t / width; g < groups; g += warps) {
    sage::Moments m;
    clear(m);
    for (int at = g * threads + lane; at < (g + 1) * threads; at += width) {
      m.count += count[at];
      m.sum += sum[at];
      m.abs_sum += abs_sum[at];
      m.sq_sum += sq_sum[at];
    }
    fold_lanes(m, mask, width);
    if (lane == 0) parts[int64_t{blockIdx.x} * groups + g] = m;
  }
}

}  // namespace KX_NAMESPACE
