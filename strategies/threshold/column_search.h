// How many columns of a block are salient, by the error of binarizing both sides.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// For c = least .. most, M_c being the first c columns by descending score, measures
//   err_c = mean over the block of (X - B(X, M_c) - B(X, not M_c))^2
// and keeps the first c with the least. B is masked residual binarization per row of the block (Backend::split_errors) with
// `order` and `centered`; X is the filter's target (error_on: saliency) or the weights. At least one column stays on either
// side: most is cut to the block's width - 1, least to most. A block of a single column has none salient.
//
// BiLLM, step "salient": the defaults are its released code, which measures the error on the saliency matrix, not on the
// weights, and binarizes both sides twice. Its paper (arXiv:2402.04291, Eq. 5 and App. C): error_on: weights, order: 1,
// centered: false, least: 3, most: 30. The released code fails for blocks narrower than 50 columns.
//
// Needs a filter that ranks columns (columns, hessian with unit: columns); UserError otherwise. Sums in double, where the
// released code has floats. RunError where X is not finite. No trials. Trace: salient_columns, column_search.errors (err_c).
// Cost: order + 1 passes over the block for every c, in cache row by row: about 40 ms for 4096 x 128 and 49 candidates on one
// core.
class ColumnSearch final : public ThresholdSearcher {
 public:
  enum class ErrorOn { kSaliency, kWeights };
  struct Params : Objective {
    int least = 1;
    int most = 49;
    ErrorOn error_on = ErrorOn::kSaliency;
    int order = 2;
    bool centered = true;
  };
  static constexpr auto kName = "column_search";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "The number of salient columns whose split a block binarizes best.";
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "Alg. 2 (salient)"};
  static Schema<Params> schema();
  explicit ColumnSearch(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  Cut::Unit unit() const override { return Cut::Unit::kCount; }
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return params_.least; }
  bool needs_trials() const override { return false; }

 private:
  Params params_;
};

}  // namespace sage
