// Scattered saliency by magnitude.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/saliency.h"

namespace sage {

// w is salient iff |w| > T, T an order statistic of |w| over N weights: those of the block (scope: matrix) or of each row by
// itself (scope: row; T then differs by row and threshold() is 0). Its rank is floor((1 - r)(N - 1)) for a share r (kRatio) and
// floor(N f) for PB-LLM's share f of weights that are not salient (kPercentile). Ties are not salient. PB-LLM's magnitude
// criterion is scope: matrix; rows are ours. Same as `sigma` with center: zero, for scope: matrix. target(): the weights.
// Stored: an element mask. Cost: about three passes (matrix); a selection per row, O(N) (row).
class MagnitudeSaliency final : public SaliencyFilter {
 public:
  enum class Scope { kMatrix, kRow };
  struct Params {
    Scope scope = Scope::kMatrix;
  };
  static constexpr auto kName = "magnitude";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Keeps the largest weights by |w|, over the matrix or in every row.";
  static constexpr Citation kReference{"PB-LLM", "arXiv:2310.00034", "magnitude criterion"};
  static Schema<Params> schema();
  explicit MagnitudeSaliency(Params p) : params_(p) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  bool supports(Cut::Unit unit) const override { return unit == Cut::Unit::kRatio || unit == Cut::Unit::kPercentile; }
  MaskShape mask_shape() const override { return MaskShape::kElements; }

 private:
  Params params_;
};

}  // namespace sage
