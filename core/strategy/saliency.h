// Saliency filters: which weights deserve more bits.
#pragma once

#include <memory>

#include "core/strategy/context.h"
#include "core/tensor/mask.h"

namespace sage {

// Where to cut. kRatio: share of all weights (or columns) kept. kSigmas: t of |w - mu| > t * sigma. kCount: columns kept.
struct Cut {
  enum class Unit { kRatio, kSigmas, kCount };
  Unit unit = Unit::kRatio;
  double value = 0;
};

// The scores of one block, ready to be cut at any point.
class SaliencyScores {
 public:
  virtual ~SaliencyScores() = default;
  // The weights above the cut. Throws UserError for a unit the filter does not know.
  virtual SaliencyMask select(const Cut& cut) const = 0;
  // The score at the cut (T in |w - mu| > T), for traces and for quantizers that start their grid there. 0 if meaningless.
  virtual double threshold(const Cut&) const { return 0; }
};

class SaliencyFilter {
 public:
  virtual ~SaliencyFilter() = default;
  virtual std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const = 0;
  virtual bool needs_calibration() const { return false; }
  // True for a filter that never selects anything: the engine then skips the search.
  virtual bool never_selects() const { return false; }
  virtual bool supports(Cut::Unit unit) const { return unit == Cut::Unit::kRatio; }
  virtual MaskShape mask_shape() const = 0;
};

}  // namespace sage
