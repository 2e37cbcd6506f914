// Compensators: push the error of finished columns into columns still to be coded.
//
// The engine works through the columns in blocks of k (pipeline.h, block_columns). For a block with weights W_b (n x k), decoded
// values Q_b and the block's part U_bb of the upper factor (H^-1 = U^T U, hessian_factor.h), a compensator says what error
// E (n x k) the block leaves; the engine then does, for all columns after the block,
//   W_rest <- W_rest - E U_b,rest
// and reports the loss 1/2 sum E^2. Column-wise compensators also correct the columns left in the block as they go.
#pragma once

#include <span>

#include "core/backend/block_coder.h"
#include "core/strategy/context.h"

namespace sage {

class Compensator {
 public:
  virtual ~Compensator() = default;
  // False for `none`: the engine then does none of the above.
  virtual bool needs_calibration() const { return true; }
  // What error a block of columns leaves (block_coder.h). kColumnwise: the engine codes column by column and calls column_done after
  // each; otherwise block by block, then block_error. Backends that code blocks themselves do as this says and call neither.
  virtual Correction correction() const { return Correction::kNone; }
  bool columnwise() const { return correction() == Correction::kColumnwise; }

  // Column c of the block was coded to `decoded`, for some of the rows (others may be at work on other rows). The tile is
  // transposed: tile.row(c) is column c, k x rows. Writes the column's error and corrects tile rows c + 1 .. k - 1.
  virtual void column_done(WeightView u, int64_t c, View<float> tile, std::span<const float> decoded, std::span<float> error,
                           const Backend& backend) const;
  // The error of a finished block, all n x k. May use `weights` as scratch.
  virtual void block_error(WeightView u, View<float> weights, WeightView decoded, View<float> error, const Backend& backend) const;
};

}  // namespace sage
