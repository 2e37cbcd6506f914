// Errors of dividing the rows of a matrix into two parts, for many cuts: a part is binarized around its mean, once or twice,
// and what that loses is the sum of its squares less what its scale accounts for, as in kernels/cpu/binarization_error.h.
//
// A thread takes one cut of one row and adds up the row by itself, the weights in order of their columns, in sums of 64 and
// these in a sum (one long sum of equal terms drifts, and an exact fit is told by 1e-13): no folds between threads, and the
// order depends on nothing but the mask of weights apart and the shape. So trials that divide a row alike get the same bits,
// whichever thread computes them. Only those that differ are computed: cuts ascend, so a cut with as many keys below it as the
// cut before divides the row as that did, and is given its result; the others are dealt out to the threads without gaps.
// Weights apart are one more trial of the row, order 2, all in one part.
//
// split_rows_kernel: a block of 256 threads takes `rows` rows and `batch` cuts of each at once; the registers of three blocks
// fit a multiprocessor. It keeps the rows in shared memory, converted to double once, with their keys: every lane of a warp
// reads the same weight of the same row, or of rows whose places are in different banks. Rows longer than a tile of 1024
// columns are read again, from the cache where they are, by every pass of every batch: 2 + order passes, 1 + order without
// means. Within a tile the weights apart are moved behind the others, so that no trial looks at the mask.
//
// Per weight and cut: one comparison to count keys, then for order 1 two double additions for the means (one for each part,
// one of them idle) and a subtraction, two additions and two multiplications with addition for the errors: 7 in double; 12 for
// order 2; 2 less without means. That is the bound on every device (by more than ten times on those with a 64th of the rate in
// double); 12 bytes of shared memory per weight and pass come next. By arithmetic on data sheets; not measured. Bytes: 4 per
// weight, read once for rows in shared memory and by every pass otherwise, 1/8 more for the mask; 16 written per row and cut,
// which sum_columns_kernel (moments.cuh) folds down in bands.
//
// Weights that are not finite make their part's error NaN, as does the closed form elsewhere.
#pragma once

#include "kernels/cuda/device/weights.cuh"
#include "kernels/cuda/split_kernels.h"

namespace KX_NAMESPACE {

constexpr int kSplitThreads = 256, kSplitWarps = kSplitThreads / 32;
constexpr int kSplitTile = 1024;  // columns at most: 32 words of 32 ownership bits, one a lane
constexpr int kSplitRun = 64;     // weights of one inner sum
constexpr size_t kSplitEntryBytes = sizeof(double) + sizeof(float);

// How a block divides its work. rows * (batch + 1) <= kSplitThreads with weights apart, rows * batch without.
struct SplitPlan {
  int rows, batch;
  int tile;    // columns in shared memory at once: all of the row, or kSplitTile of one row
  int stride;  // from row to row of it, odd
};

// A tile of the block's rows: first the weights to be divided, kept[r] of them, then from the end those apart.
struct SplitTile {
  double* values;
  float* keys;
  int* kept;
  int width;
};

// A warp takes 32 columns of a row. first: the tile's first column, a multiple of 64.
__device__ __forceinline__ void load_tile(const sage::cuda::SplitArguments& p, int stride, int64_t row0, int rows,
                                          int64_t first, const SplitTile& tile) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int pieces = (tile.width + 31) / 32;
  for (int q = warp; q < rows * pieces; q += kSplitWarps) {
    const int r = q / pieces, piece = q - r * pieces;
    const int64_t row = row0 + r;
    unsigned bits = 0;  // of the piece `lane`
    if (p.apart.words != nullptr && lane < pieces)
      bits = static_cast<unsigned>(p.apart.words[row * p.apart.row_words + (first >> 6) + lane / 2] >> (32 * (lane % 2)));
    const int before = __reduce_add_sync(kAllLanes, lane < piece ? __popc(bits) : 0);
    const unsigned own = __shfl_sync(kAllLanes, bits, piece);
    if (piece == pieces - 1 && lane == 0) tile.kept[r] = tile.width - before - __popc(own);
    const int column = piece * 32 + lane;
    if (column >= tile.width) continue;
    const int apart_before = before + __popc(own & ((1u << lane) - 1));
    const int at = r * stride + ((own >> lane & 1u) != 0 ? tile.width - 1 - apart_before : column - apart_before);
    const float x = p.x.data[row * p.x.ld + first + column];
    tile.values[at] = static_cast<double>(x);
    tile.keys[at] = p.keys != nullptr ? p.keys[first + column] : fabsf(x);
  }
}

// One part of a row on trial.
struct SplitPart {
  double n;
  double mu, alpha, next_mu;  // of the first binarization, and the mean of what it leaves
  double sum;                 // of weights; of |d|
  double squares;             // sum d^2
  int excess;                 // how many more d are positive than negative; of the last binarization: how many are 0
};
__device__ __forceinline__ void clear(SplitPart& part, int n) {
  part.n = static_cast<double>(n);
  part.mu = part.alpha = part.next_mu = part.sum = part.squares = 0;
  part.excess = 0;
}
// In integers: a comparison of doubles costs as much as an addition.
__device__ __forceinline__ bool is_zero(double d) { return static_cast<unsigned long long>(__double_as_longlong(d)) << 1 == 0; }
__device__ __forceinline__ int sign_of(double d) { return is_zero(d) ? 0 : __double_as_longlong(d) < 0 ? -1 : 1; }
__device__ __forceinline__ double mean_of(double sum, double n) { return n > 0 ? sum / n : 0.0; }

// What the last binarization loses; what rounding leaves of an exact fit is 0.
__device__ __forceinline__ double last_error(const SplitPart& part, bool twice) {
  const double alpha = mean_of(part.sum, part.n);
  const double error = part.squares - (part.n + static_cast<double>(part.excess)) * alpha * alpha;
  if (error <= 1e-13 * part.squares) return 0.0;
  if (twice && error <= 1e-13 * part.n * part.alpha * part.alpha) return 0.0;
  return error;
}

enum class SplitPass { kMeans, kFirst, kLast };

// What a thread computes: the trial of a cut on the row that starts at `values`, or its weights apart.
struct SplitItem {
  int row;
  float cut;
  bool apart, twice;
  SplitPart lower, upper;
};

// Adds the tile's weights to the sums of a pass.
template <SplitPass kPass>
__device__ __forceinline__ void add_tile(SplitItem& item, const SplitTile& tile, int stride) {
  const double* values = tile.values + item.row * stride;
  const float* keys = tile.keys + item.row * stride;
  const int kept = tile.kept[item.row], end = item.apart ? tile.width : kept;
  for (int k = item.apart ? kept : 0; k < end;) {
    const int stop = k + kSplitRun < end ? k + kSplitRun : end;
    double lower = 0, upper = 0, lower_squares = 0, upper_squares = 0;
    for (; k < stop; ++k) {
      const double x = values[k];
      const bool below = item.apart || keys[k] < item.cut;
      if constexpr (kPass == SplitPass::kMeans) {
        if (below)
          lower += x;
        else
          upper += x;
      } else {
        double d = x - (below ? item.lower.mu : item.upper.mu);
        int excess;
        if constexpr (kPass == SplitPass::kFirst) {
          excess = sign_of(d);
        } else {
          if (item.twice) {
            if (!is_zero(d)) d -= copysign(below ? item.lower.alpha : item.upper.alpha, d);
            d -= below ? item.lower.next_mu : item.upper.next_mu;
          }
          excess = is_zero(d) ? 1 : 0;
        }
        if (below) {
          lower += fabs(d);
          if constexpr (kPass == SplitPass::kLast) lower_squares += d * d;
          item.lower.excess += excess;
        } else {
          upper += fabs(d);
          if constexpr (kPass == SplitPass::kLast) upper_squares += d * d;
          item.upper.excess += excess;
        }
      }
    }
    item.lower.sum += lower;
    item.upper.sum += upper;
    item.lower.squares += lower_squares;
    item.upper.squares += upper_squares;
  }
}

// The first binarization's scale, and the mean of what it leaves: the deviations from a mean add up to 0, so those of the
// residual to -alpha times the excess.
__device__ __forceinline__ void end_first(SplitPart& part, bool centered) {
  part.alpha = mean_of(part.sum, part.n);
  part.next_mu = centered ? mean_of(-part.alpha * static_cast<double>(part.excess), part.n) : 0.0;
  part.sum = 0;
  part.excess = 0;
}
__device__ __forceinline__ void end_means(SplitPart& part) {
  part.mu = mean_of(part.sum, part.n);
  part.sum = 0;
}

// body() for every tile of the block's rows. All threads of the block call; a row that is one tile is there already.
template <class Body>
__device__ __forceinline__ void for_tiles(const sage::cuda::SplitArguments& p, const SplitPlan& plan, int64_t row0, int rows,
                                          SplitTile& tile, const Body& body) {
  for (int64_t first = 0; first < p.x.cols; first += plan.tile) {
    if (plan.tile < p.x.cols) {
      tile.width = static_cast<int>(p.x.cols - first < plan.tile ? p.x.cols - first : plan.tile);
      __syncthreads();  // all are done with the tile before
      load_tile(p, plan.stride, row0, rows, first, tile);
      __syncthreads();
    }
    body();
  }
}

// sums[2 * i * p.count + ..] for row i: errors of the cuts, then weights above each.
__global__ void __launch_bounds__(kSplitThreads, 3)
    split_rows_kernel(sage::cuda::SplitArguments p, SplitPlan plan, double* sums) {
  KX_DYNAMIC_SHARED(double, shared);
  __shared__ double errors[kSplitThreads], apart_errors[kSplitThreads];  // of the trials computed; of each row's weights apart
  __shared__ int kept[kSplitThreads], divided[kSplitThreads];            // of each row, in the tile and in all
  __shared__ int below[kSplitThreads], trial_of[kSplitThreads];          // of each trial; of each one computed
  __shared__ int warp_trials[kSplitWarps];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
  const int64_t row0 = int64_t{blockIdx.x} * plan.rows;
  const int rows = static_cast<int>(p.x.rows - row0 < plan.rows ? p.x.rows - row0 : plan.rows);
  SplitTile tile = {shared, reinterpret_cast<float*>(shared + plan.rows * plan.stride), kept, plan.tile};
  if (plan.tile == p.x.cols) load_tile(p, plan.stride, row0, rows, 0, tile);
  __syncthreads();

  for (int first = 0; first < p.count; first += plan.batch) {
    const int batch = p.count - first < plan.batch ? p.count - first : plan.batch;
    // The trial with the thread's number: row thread / batch, cut first + thread % batch.
    const bool valid = thread < rows * batch;
    const int row = valid ? thread / batch : 0, c = valid ? thread - row * batch : 0;
    const float cut = p.cuts[first + c];
    int count = 0, all = 0;
    for_tiles(p, plan, row0, rows, tile, [&] {
      if (!valid) return;
      const float* keys = tile.keys + row * plan.stride;
      for (int k = 0; k < kept[row]; ++k)
        count += keys[k] < cut ? 1 : 0;
      all += kept[row];
    });
    below[thread] = count;
    if (valid && c == 0) divided[row] = all;
    __syncthreads();

    // Those that divide their row as none before are computed: numbered in order of their threads.
    const bool fresh = valid && (c == 0 || count != below[thread - 1]);
    const unsigned votes = __ballot_sync(kAllLanes, fresh);
    if (lane == 0) warp_trials[warp] = __popc(votes);
    __syncthreads();
    int number = __popc(votes & ((2u << lane) - 1)) - 1, computed = 0;  // of the last one up to the own
    for (int w = 0; w < kSplitWarps; ++w) {
      if (w < warp) number += warp_trials[w];
      computed += warp_trials[w];
    }
    if (fresh) trial_of[number] = thread;
    __syncthreads();

    const bool apart_too = p.apart.words != nullptr && first == 0;
    SplitItem item = {};
    const bool busy = thread < computed + (apart_too ? rows : 0);
    item.apart = thread >= computed;
    item.twice = item.apart || p.order == 2;
    if (busy) {
      const int trial = item.apart ? 0 : trial_of[thread];
      item.row = item.apart ? thread - computed : trial / batch;
      item.cut = p.cuts[first + trial % batch];
      const int part = item.apart ? static_cast<int>(p.x.cols) - divided[item.row] : below[trial];
      clear(item.lower, part);
      clear(item.upper, item.apart ? 0 : divided[item.row] - part);
    }
    if (p.centered) {
      for_tiles(p, plan, row0, rows, tile, [&] {
        if (busy) add_tile<SplitPass::kMeans>(item, tile, plan.stride);
      });
      end_means(item.lower);
      end_means(item.upper);
    }
    if (apart_too || p.order == 2) {
      for_tiles(p, plan, row0, rows, tile, [&] {
        if (busy && item.twice) add_tile<SplitPass::kFirst>(item, tile, plan.stride);
      });
      end_first(item.lower, p.centered);
      end_first(item.upper, p.centered);
    }
    for_tiles(p, plan, row0, rows, tile, [&] {
      if (busy) add_tile<SplitPass::kLast>(item, tile, plan.stride);
    });
    if (busy) {
      const double error = last_error(item.lower, item.twice) + last_error(item.upper, item.twice);
      (item.apart ? apart_errors[item.row] : errors[thread]) = error;
    }
    __syncthreads();
    if (valid) {
      double* row_sums = sums + (row0 + row) * 2 * p.count;
      const double apart_error = p.apart.words != nullptr ? apart_errors[row] : 0.0;
      row_sums[first + c] = apart_error + errors[number];
      row_sums[p.count + first + c] = static_cast<double>(all - count);
    }
  }
}

}  // namespace KX_NAMESPACE
