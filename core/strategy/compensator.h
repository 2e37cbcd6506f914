// Compensators: push the error of finished columns into columns still to be coded.
#pragma once

#include "core/strategy/context.h"

namespace sage {

class Compensator {
 public:
  virtual ~Compensator() = default;
  virtual bool needs_calibration() const { return false; }
  // True: the engine codes column by column and calls column_done after each; false: block by block.
  virtual bool columnwise() const { return false; }
  // `work` is the engine's working copy of the matrix; the compensator may change columns that are not coded yet.
  virtual void begin(View<float> work, const CalibrationStats* stats, const Backend& backend) = 0;
  // Column j of the block ending at block_last was coded to `decoded` (a column of rows values, stride ld).
  virtual void column_done(int64_t column, int64_t block_last, View<const float> decoded) = 0;
  virtual void block_done(int64_t first, int64_t last, View<const float> decoded) = 0;
};

}  // namespace sage
