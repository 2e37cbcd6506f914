// Launch wrappers of the fits kernels. Conventions: kernel_table.h; matrices are views of device memory, and how they are cut
// into blocks and threads depends on their shape and the number of groups alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda/api.h"
#include "kernels/cuda/statistics_kernels.h"

namespace sage::cuda {

// Which unit a weight (i, j) belongs to: number (by_row ? i * groups : 0) + its label, which is element[i * cols + j], or
// label[i * row_labels + j / block], or 0 where there is neither.
struct UnitLabels {
  const uint8_t* element = nullptr;
  const uint32_t* label = nullptr;  // all below `groups`
  int64_t row_labels = 0;
  uint32_t block = 1;
  uint32_t groups = 1;
  bool by_row = false;
};

// label_moments: a part is so many rows. Parts of a matrix are at most kMostLabelParts.
inline constexpr int64_t kMostLabelParts = 2048;
inline int64_t rows_per_label_part(int64_t rows) {
  return std::max<int64_t>(1, (rows + kMostLabelParts - 1) / kMostLabelParts);
}
inline int64_t label_parts(int64_t rows) {
  const int64_t each = rows_per_label_part(rows);
  return (rows + each - 1) / each;
}

// residual_binarize fits so many units of a row at once.
inline constexpr int64_t kResidualUnits = 32;
inline int64_t residual_tiles(int64_t groups) { return (groups + kResidualUnits - 1) / kResidualUnits; }

struct FitKernels {
  // Moments of w - center over the owned weights of...
  //   cells[i * blocks_per_row + b]: row i, columns [b * block, (b + 1) * block), which are of one unit. block > 0.
  int (*cell_moments)(WeightView w, OwnedBits own, UnitLabels units, const float* center, int64_t block, Moments* cells,
                      Stream stream) = nullptr;
  //   out[j]: column j; labels of columns, units not by row. parts: column_bands() * cols.
  int (*column_moments)(WeightView w, OwnedBits own, UnitLabels units, const float* center, Moments* parts, Moments* out,
                        Stream stream) = nullptr;
  //   out[u]: unit u, whatever the labels. parts: label_parts() * groups, or null when units are by row.
  // center: one per unit, or null for 0. *out_of_range (0 before) becomes 1 when a label of a single weight, owned or not, is
  // not below `groups`.
  int (*label_moments)(WeightView w, OwnedBits own, UnitLabels units, const float* center, Moments* parts, Moments* out,
                       int* out_of_range, Stream stream) = nullptr;
  // levels[u], as Backend::residual_binarize says, and the squared error of each row's units, residual_tiles() sums to a row.
  // units by row.
  int (*residual_binarize)(WeightView w, OwnedBits own, UnitLabels units, ResidualRule rule, ResidualLevels* levels,
                           double* errors, int* out_of_range, Stream stream) = nullptr;
};

FitKernels compiled_fit_kernels();
FitKernels emulated_fit_kernels();

}  // namespace sage::cuda
