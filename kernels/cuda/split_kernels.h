// Launch wrapper of the kernels that try splits of rows. Conventions: kernel_table.h; formulas and cost: device/splits.cuh.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/backend/backend.h"
#include "kernels/cuda/api.h"
#include "kernels/cuda/statistics_kernels.h"

namespace sage::cuda {

// As SplitTrials, in device memory. x.cols > 0, cuts > 0.
struct SplitArguments {
  WeightView x;
  const float* keys = nullptr;  // one per column; nullptr: the key of a weight is its magnitude
  OwnedBits apart;              // no words: nothing is apart
  const float* cuts = nullptr;
  int count = 0;  // of cuts
  int order = 1;
  bool centered = true;
};

// What a row gives: the errors of all cuts, then the weights above each (whole numbers, exact in double below 2^53).
inline int64_t split_sums(int64_t cuts) { return 2 * cuts; }
// Rows whose sums are in memory at once: 16 MB of them.
inline int64_t split_band(int64_t rows, int64_t cuts) {
  constexpr int64_t kSumsAtOnce = int64_t{1} << 21;
  return std::clamp<int64_t>(kSumsAtOnce / split_sums(cuts), 1, std::max<int64_t>(1, rows));
}
inline int64_t split_bands(int64_t rows, int64_t cuts) {
  const int64_t band = split_band(rows, cuts);
  return (rows + band - 1) / band;
}

struct SplitKernels {
  // out[split_sums()] = the sums of all rows. rows: split_band() * split_sums(); parts: column_bands() of such a matrix times
  // split_sums(); bands: split_bands() * split_sums().
  int (*split_errors)(const SplitArguments& arguments, double* rows, double* parts, double* bands, double* out,
                      Stream stream) = nullptr;
};

SplitKernels compiled_split_kernels();
SplitKernels emulated_split_kernels();

}  // namespace sage::cuda
