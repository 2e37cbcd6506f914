// Where FP16, in which scales and kept weights are stored, does not reach what a method wants to store.
#pragma once

#include <string>

#include "core/strategy/planes.h"
#include "core/tensor/view.h"

namespace sage {

// One sentence for the log with the counts, or "" where everything fits:
//   - scales, means and kept weights that stand at FP16's largest number, 65504: what they belong to decodes to less;
//   - zeros among kept weights, where the matrix has weights that FP16 rounds to zero;
//   - rows whose weights are all below FP16's smallest step, 2^-24, and not zero: no scale can be stored for them.
// Zero points are not counted: some formats put them far beyond the codes on purpose. `weights` is the matrix as it came.
// Reference numerics store FP32: always "". Cost: one pass over the weights.
std::string half_range_warning(WeightView weights, const PlaneWriter& writer, const std::string& matrix);

}  // namespace sage
