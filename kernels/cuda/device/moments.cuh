// Sums over a matrix, its row blocks and its columns, in double.
//
// T is what is summed: double (squares, squared distances), Moments or MatrixStats. Every kernel folds in an order that the
// matrix's shape fixes: a thread its own weights, a warp its lanes in a tree, a block its warps in a tree; partial results of
// blocks go to memory and a second kernel folds those in order. No atomics.
//
//   sum_matrix_kernel + fold_parts_kernel   the whole matrix: at most 1024 blocks of 256 threads, a thread takes every quad
//                                           that is a grid apart; the partial results are folded by one block
//   sum_cells_kernel                        every block of `block` columns of every row: 4, 8 or 32 lanes or 256 threads fold a
//                                           cell (a row is a cell of `cols` columns)
//   sum_columns_kernel                      every column: a block of 32 x 8 threads sums 32 columns of a band of rows, a warp a
//                                           row of them (128 bytes); run again over the partial results of the bands
//
// Bytes: 4 per weight read (8 for a distance), 1/8 more for ownership bits; 32 written per cell, and for columns 32 written and
// read per band and column more. Three double additions and a conversion per weight for moments: on devices with a 64th of the
// rate in double that, not the memory, is the bound (arithmetic on data sheets; not measured).
#pragma once

#include "kernels/cuda/device/weights.cuh"

namespace KX_NAMESPACE {

constexpr int kSumThreads = 256;
constexpr int kColumnLanes = static_cast<int>(sage::cuda::kColumnTile), kRowLanes = 8;

__device__ __forceinline__ void clear(double& s) { s = 0; }
__device__ __forceinline__ void clear(sage::Moments& s) {
  s.count = 0;
  s.sum = s.abs_sum = s.sq_sum = 0;
}
__device__ __forceinline__ void clear(sage::MatrixStats& s) {
  clear(s.moments);
  s.min = kx::kInfinity;
  s.max = -kx::kInfinity;
  s.nonfinite = 0;
}

__device__ __forceinline__ void merge(double& s, double other) { s += other; }
__device__ __forceinline__ void merge(sage::Moments& s, const sage::Moments& other) {
  s.count += other.count;
  s.sum += other.sum;
  s.abs_sum += other.abs_sum;
  s.sq_sum += other.sq_sum;
}
__device__ __forceinline__ void merge(sage::MatrixStats& s, const sage::MatrixStats& other) {
  merge(s.moments, other.moments);
  if (other.min < s.min) s.min = other.min;
  if (other.max > s.max) s.max = other.max;
  s.nonfinite += other.nonfinite;
}

__device__ __forceinline__ void add_weight(double& s, float x) {
  const auto w = static_cast<double>(x);
  s += w * w;
}
__device__ __forceinline__ void add_weight(sage::Moments& s, float x) {
  const auto w = static_cast<double>(x);
  ++s.count;
  s.sum += w;
  s.abs_sum += fabs(w);
  s.sq_sum += w * w;
}
__device__ __forceinline__ void add_weight(sage::MatrixStats& s, float x) {
  if ((__float_as_uint(x) & kMagnitudeBits) >= kInfinityBits) {
    ++s.nonfinite;
    return;
  }
  add_weight(s.moments, x);
  if (x < s.min) s.min = x;
  if (x > s.max) s.max = x;
}

// --- what the kernels sum: a source adds the columns [col, min(col + 4, end)) of a row, or one column's value
// ------------------

template <class T>
struct OwnedWeights {
  Weights w;
  sage::cuda::OwnedBits own;
  __device__ __forceinline__ void add(T& s, int64_t row, int64_t col, int64_t end) const {
    const Quad q = load_quad(w, row, col, end);
    const unsigned bits = owned_bits(own, row, col, q.n);
    for (int k = 0; k < 4; ++k)
      if (bits >> k & 1u) add_weight(s, q.v[k]);
  }
  __device__ __forceinline__ void add_one(T& s, int64_t row, int64_t col) const {
    if (owned_bits(own, row, col, 1) != 0) add_weight(s, w.data[row * w.ld + col]);
  }
};

struct Distance {
  Weights a, b;
  __device__ __forceinline__ void add(double& s, int64_t row, int64_t col, int64_t end) const {
    const Quad x = load_quad(a, row, col, end), y = load_quad(b, row, col, end);
    for (int k = 0; k < 4; ++k) {
      if (k >= x.n) break;
      const double d = static_cast<double>(x.v[k]) - static_cast<double>(y.v[k]);
      s += d * d;
    }
  }
};

template <class T>
struct Parts {
  const T* parts;
  int64_t ld;
  __device__ __forceinline__ void add_one(T& s, int64_t row, int64_t col) const { merge(s, parts[row * ld + col]); }
};

// --- folds -------------------------------------------------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ T shuffle_down(unsigned mask, const T& v, int delta, int width) {
  static_assert(sizeof(T) % 8 == 0);
  constexpr int kWords = sizeof(T) / 8;
  uint64_t words[kWords];
  memcpy(words, &v, sizeof(T));
  for (int k = 0; k < kWords; ++k)
    words[k] = __shfl_down_sync(mask, words[k], static_cast<unsigned>(delta), width);
  T out;
  memcpy(&out, words, sizeof(T));
  return out;
}

// The first of every `width` lanes gets the sum of them. All lanes of `mask` call.
template <class T>
__device__ __forceinline__ void fold_lanes(T& s, unsigned mask, int width) {
  for (int delta = width / 2; delta > 0; delta /= 2)
    merge(s, shuffle_down(mask, s, delta, width));
}

// Thread 0 of kSumThreads gets the sum of all. The block may call again after a barrier.
template <class T>
__device__ __forceinline__ void fold_block(T& s) {
  constexpr int kWarps = kSumThreads / 32;
  __shared__ __align__(16) unsigned char bytes[kWarps * sizeof(T)];
  T* warps = reinterpret_cast<T*>(bytes);
  fold_lanes(s, kAllLanes, 32);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x < 32) {
    s = warps[threadIdx.x % kWarps];
    fold_lanes(s, kAllLanes, kWarps);
  }
}

template <class T, class Source>
__global__ void __launch_bounds__(kSumThreads) sum_matrix_kernel(Source source, int64_t rows, int64_t cols, T* parts) {
  T s;
  clear(s);
  for (QuadWalk q = grid_walk(rows, cols); q.valid(); q.next())
    source.add(s, q.row(), q.col(), cols);
  fold_block(s);
  if (threadIdx.x == 0) parts[blockIdx.x] = s;
}

template <class T>
__global__ void __launch_bounds__(kSumThreads) fold_parts_kernel(const T* parts, int64_t n, T* out) {
  T s;
  clear(s);
  for (int64_t p = threadIdx.x; p < n; p += kSumThreads)
    merge(s, parts[p]);
  fold_block(s);
  if (threadIdx.x == 0) *out = s;
}

template <class T, int kLanes, class Source>
__global__ void __launch_bounds__(kSumThreads)
    sum_cells_kernel(Source source, int64_t rows, int64_t cols, int64_t block, int64_t blocks_per_row, T* out) {
  constexpr int kCells = kSumThreads / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const int64_t cells = rows * blocks_per_row;
  // All threads of a block stay in the loop together: lanes of a last, absent cell take part in the folds.
  for (int64_t first = int64_t{blockIdx.x} * kCells; first < cells; first += int64_t{gridDim.x} * kCells) {
    const int64_t cell = first + threadIdx.x / kLanes;
    T s;
    clear(s);
    if (cell < cells) {
      const int64_t row = cell / blocks_per_row, start = (cell - row * blocks_per_row) * block;
      const int64_t end = start + block < cols ? start + block : cols;
      for (int64_t col = start + 4 * lane; col < end; col += 4 * kLanes)
        source.add(s, row, col, end);
    }
    if constexpr (kLanes == kSumThreads) {
      fold_block(s);
      __syncthreads();  // before the next cell's fold
    } else {
      fold_lanes(s, kAllLanes, kLanes);
    }
    if (lane == 0 && cell < cells) out[cell] = s;
  }
}

// out[blockIdx.y * cols + j]: rows [blockIdx.y * band, (blockIdx.y + 1) * band) of column j.
template <class T, class Source>
__global__ void __launch_bounds__(kColumnLanes* kRowLanes)
    sum_columns_kernel(Source source, int64_t rows, int64_t cols, int64_t band, T* out) {
  __shared__ __align__(16) unsigned char bytes[kRowLanes * kColumnLanes * sizeof(T)];
  T* lanes = reinterpret_cast<T*>(bytes);
  const int64_t col = int64_t{blockIdx.x} * kColumnLanes + threadIdx.x, first = blockIdx.y * band;
  const int64_t last = first + band < rows ? first + band : rows;
  T s;
  clear(s);
  if (col < cols) {
    for (int64_t row = first + threadIdx.y; row < last; row += kRowLanes)
      source.add_one(s, row, col);
  }
  lanes[threadIdx.y * kColumnLanes + threadIdx.x] = s;
  __syncthreads();
  if (threadIdx.y != 0 || col >= cols) return;
  for (int r = 1; r < kRowLanes; ++r)
    merge(s, lanes[r * kColumnLanes + threadIdx.x]);
  out[blockIdx.y * cols + col] = s;
}

}  // namespace KX_NAMESPACE
