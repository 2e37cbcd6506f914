// Launches of the other sums of moments.cuh (column_sums.h has one), shared by the wrappers of several operations.
#pragma once

#include "kernels/cuda/device/moments.cuh"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda/statistics_kernels.h"

namespace KX_NAMESPACE {
namespace {  // the executor's kernels have internal linkage, and so has what launches them

constexpr int64_t kQuadsPerThread = 4;  // at least, where the matrix has that many: less is all start and fold

inline bool aligned(const void* p, uintptr_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// Quads start at multiples of `step` columns.
inline Weights weights(sage::WeightView w, int64_t step = 4) {
  return {w.data, w.ld, w.rows, w.cols, aligned(w.data, 16) && (w.ld % 4 == 0 || w.rows == 1) && step % 4 == 0};
}

// Blocks of `threads` threads that walk over all quads of a matrix.
inline unsigned walking_blocks(int64_t rows, int64_t cols, int threads, int64_t most = sage::cuda::kMostParts) {
  return static_cast<unsigned>(std::clamp<int64_t>(divide_up(rows * divide_up(cols, 4), threads * kQuadsPerThread), 1, most));
}

template <class T, class Source>
int sum_matrix(const char* name, const Source& source, int64_t rows, int64_t cols, T* parts, T* out, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const unsigned blocks = walking_blocks(rows, cols, kSumThreads);
  const int code =
      kx::launch(name, dim3(blocks), dim3(kSumThreads), 0, stream, sum_matrix_kernel<T, Source>, source, rows, cols, parts);
  if (code != 0) return code;
  return kx::launch(name, dim3(1), dim3(kSumThreads), 0, stream, fold_parts_kernel<T>, static_cast<const T*>(parts),
                    int64_t{blocks}, out);
}

// For sources of cells of `block` columns.
inline Weights cell_weights(sage::WeightView w, int64_t block) { return weights(w, w.cols <= block ? 4 : block); }

template <class T, int kLanes, class Source>
int sum_cells(const char* name, const Source& source, int64_t rows, int64_t cols, int64_t block, int64_t blocks_per_row, T* out,
              kx::Stream stream) {
  const int64_t blocks = divide_up(rows * blocks_per_row, kSumThreads / kLanes);
  return kx::launch(name, dim3(static_cast<unsigned>(std::min<int64_t>(blocks, INT32_MAX))), dim3(kSumThreads), 0, stream,
                    sum_cells_kernel<T, kLanes, Source>, source, rows, cols, block, blocks_per_row, out);
}

// A cell of c columns is c / 4 quads. Few lanes leave a thread several quads before it folds, and neighbouring lanes still read
// whole lines.
template <class T, class Source>
int sum_cells(const char* name, const Source& source, int64_t rows, int64_t cols, int64_t block, T* out, kx::Stream stream) {
  const int64_t blocks_per_row = cols <= block ? 1 : divide_up(cols, block), widest = std::min(block, cols);
  if (rows <= 0) return 0;
  if (widest <= 64) return sum_cells<T, 4>(name, source, rows, cols, block, blocks_per_row, out, stream);
  if (widest <= 512) return sum_cells<T, 8>(name, source, rows, cols, block, blocks_per_row, out, stream);
  if (widest <= 4096) return sum_cells<T, 32>(name, source, rows, cols, block, blocks_per_row, out, stream);
  return sum_cells<T, kSumThreads>(name, source, rows, cols, block, blocks_per_row, out, stream);
}

}  // namespace
}  // namespace KX_NAMESPACE
