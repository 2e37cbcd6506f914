// Launch wrappers of the statistics and quantization kernels. Conventions: kernel_table.h; matrices are views of device memory.
//
// How a matrix is cut into blocks and threads depends on its shape alone, and so does the order of every sum: not on the
// device, the row pitch or the alignment.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/backend/backend.h"
#include "kernels/cuda/api.h"

namespace sage::cuda {

// Which weights are owned, on the device: bit j of row i is bit j % 64 of words[i * row_words + j / 64], and a weight is owned
// when its bit equals `salient`. row_words = 0: one row of words serves all rows. words = nullptr: every weight is owned.
struct OwnedBits {
  const uint64_t* words = nullptr;
  int64_t row_words = 0;
  bool salient = false;
};

// Partial results of a reduction over the matrix or of a group table: at most one per block of a grid of kMostParts.
inline constexpr int64_t kMostParts = 1024;

// Reductions down the columns: a block sums a tile of kColumnTile columns over one of `bands` stretches of rows.
inline constexpr int64_t kColumnTile = 32;
inline int64_t column_bands(int64_t rows, int64_t cols) {
  constexpr int64_t kLeastRows = 64, kMostBands = 64;
  const int64_t tiles = std::max<int64_t>(1, (cols + kColumnTile - 1) / kColumnTile);
  return std::max<int64_t>(1, std::min({kMostParts / tiles, (rows + kLeastRows - 1) / kLeastRows, kMostBands}));
}

// State of a radix selection, all zero bytes before the first pass.
struct RadixState {
  static constexpr int kMostBins = 2048;
  unsigned long long count[kMostBins];  // members of each bin of the running pass
  unsigned long long below;             // weights below the prefix chosen so far
  unsigned prefix;                      // leading bits of the result
  unsigned unused;
};

// Exact sums over the weights of one bin. Their patterns are base | l with one base per bin.
struct MagnitudeBin {
  unsigned long long count, low, low_sq;  // members, sum l, sum l^2
};
// Bins finer than 12 bits are never needed, and with 12 the sums cannot overflow below 2^40 weights.
inline constexpr int kFinestShift = 12;
inline int64_t magnitude_bins(int shift) { return 0x7f800000 >> shift; }

struct StatisticsKernels {
  // out = statistics of w, with min > max when nothing is finite. parts: kMostParts.
  int (*matrix_stats)(WeightView w, MatrixStats* parts, MatrixStats* out, Stream stream) = nullptr;
  // out = moments of the owned weights. parts: kMostParts.
  int (*matrix_moments)(WeightView w, OwnedBits own, Moments* parts, Moments* out, Stream stream) = nullptr;
  // cells[i * blocks_per_row + b] = moments of the owned weights of row i, columns [b * block, (b + 1) * block). block > 0.
  int (*cell_moments)(WeightView w, OwnedBits own, int64_t block, Moments* cells, Stream stream) = nullptr;
  // out[j] = moments of the owned weights of column j. parts: column_bands() * cols.
  int (*column_moments)(WeightView w, OwnedBits own, Moments* parts, Moments* out, Stream stream) = nullptr;
  // out[g] = moments of the owned weights of label g, labels[i * cols + j] < groups <= 256. parts: kMostParts * groups.
  // *out_of_range (0 before) becomes 1 when a label, of whatever weight, is not below `groups`.
  int (*label_moments)(WeightView w, OwnedBits own, const uint8_t* labels, int groups, Moments* parts, Moments* out,
                       int* out_of_range, Stream stream) = nullptr;
  // out[i] = sum of squares of row i.
  int (*row_squares)(WeightView w, double* out, Stream stream) = nullptr;
  // out[j] = sum of squares of column j. parts: column_bands() * cols.
  int (*column_squares)(WeightView w, double* parts, double* out, Stream stream) = nullptr;
  // out = sum (a - b)^2. parts: kMostParts.
  int (*squared_distance)(WeightView a, WeightView b, double* parts, double* out, Stream stream) = nullptr;

  // out = the k-th smallest |w - center|. state: one, zeroed.
  int (*order_statistic)(WeightView w, float center, int64_t k, RadixState* state, float* out, Stream stream) = nullptr;
  // Bits of { |w - center| > threshold }, rows of ceil(cols / 64) words.
  int (*deviation_above)(WeightView w, float center, float threshold, uint64_t* words, Stream stream) = nullptr;
  // out[i * cols + j] = number of cuts <= |w|; count <= 255, cuts ascending.
  int (*assign_by_magnitude)(WeightView w, const float* cuts, int count, uint8_t* out, Stream stream) = nullptr;

  // Adds the owned finite weights to bins[magnitude_bins(min(shift, kFinestShift))], zeroed, and from these fills
  // magnitude_bins(shift) counts, sums and sums of squares.
  int (*magnitude_histogram)(WeightView w, OwnedBits own, int shift, MagnitudeBin* bins, int64_t* count, double* sum,
                             double* sq_sum, Stream stream) = nullptr;

  // y = H x / sqrt(cols) for every row, in place.
  int (*hadamard_rows)(View<float> w, Stream stream) = nullptr;
};

StatisticsKernels compiled_statistics_kernels();
StatisticsKernels emulated_statistics_kernels();

}  // namespace sage::cuda
