// Saliency filters: which weights deserve more bits.
#pragma once

#include <memory>
#include <span>

#include "core/strategy/context.h"
#include "core/tensor/mask.h"

namespace sage {

// Where to cut. kRatio: share of all weights (or columns) kept. kSigmas: t of |w - mu| > t * sigma. kCount: columns kept.
// kPercentile: share f of weights that are not salient, as PB-LLM cuts: salient are scores > the value at index floor(n f) of
// the n scores in ascending order, so ties at that value are not salient.
struct Cut {
  enum class Unit { kRatio, kSigmas, kCount, kPercentile };
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
  // The matrix salience is read off, shape of the weights: signed weights, or w^2 / u^2. Empty if the filter has none.
  virtual WeightView target() const { return {}; }
  // Filters that rank columns: all columns of the block by descending score. Empty for the others.
  virtual std::span<const int64_t> columns_by_score() const { return {}; }
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
