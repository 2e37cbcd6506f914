// Structured saliency: whole columns.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/saliency.h"

namespace sage {

// Ranks the n columns of the block and keeps the first c of them.
//   by: energy     sum_i w_ij^2
//   by: outliers   the number of weights with |w_ij - mu| > sigmas * sigma (as in `sigma` with center: matrix), then energy
//   by: magnitude  sum_i |w_ij|, BiLLM's salient_metric magnitude; BiLLM's own (hessian) is `hessian` with unit: columns
// Cuts: kRatio r keeps c = floor(r n) columns (r is an upper bound; a share of columns is also a share of weights), kCount
// keeps c. Equal scores: the column further left is kept first. Stored: one flag per column, 1/m bits per weight for m rows.
// target(): the weights.
// Threshold() is 0: salient columns hold small weights too. The abstract of SAGE-PTQ does not say whether salience is
// scattered; columns are how BiLLM avoids an index per weight.
class ColumnSaliency final : public SaliencyFilter {
 public:
  enum class By { kEnergy, kOutliers, kMagnitude };
  struct Params {
    By by = By::kEnergy;
    double sigmas = 2.5758;
  };
  static constexpr auto kName = "columns";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc =
      "Keeps whole columns, those of most energy, magnitude or outliers; the index costs a flag per column.";
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291",
                                       "structured selection of salient columns (there by Hessian)"};
  static Schema<Params> schema();
  explicit ColumnSaliency(Params p) : params_(p) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  bool supports(Cut::Unit unit) const override { return unit == Cut::Unit::kRatio || unit == Cut::Unit::kCount; }
  MaskShape mask_shape() const override { return MaskShape::kColumns; }

 private:
  Params params_;
};

}  // namespace sage
