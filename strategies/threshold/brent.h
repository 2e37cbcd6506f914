// Brent's method after a coarse grid.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// 1. `points` evenly spaced ratios in [lo, hi] (r = lo among them, so r = 0 is always compared when lo = 0).
// 2. Brent's method (golden section and parabolas) between the neighbours of the best one, until r is known to about
// `tolerance`.
// 3. The better of both: the objective is not convex in general, and Brent's point may be worse than the grid's.
// Cost: `points` + about 5 to 10 trials. SAGE-PTQ names a one-dimensional search for its threshold; the grid before it is ours:
// on heavy-tailed matrices second differences of D(r) change sign, and Brent alone may settle in the wrong valley.
class BrentThreshold final : public ThresholdSearcher {
 public:
  struct Params : Objective {
    Params() { objective = Kind::kRateDistortion; }
    double lo = 0.0;
    double hi = 0.06;
    int points = 13;
    double tolerance = 5e-4;
  };
  static constexpr auto kName = "brent";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Brent's method for the best salient share, after a coarse grid.";
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "adaptive saliency threshold"};
  static Schema<Params> schema();
  explicit BrentThreshold(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return params_.lo; }
  bool needs_trials() const override { return true; }

 private:
  Params params_;
};

}  // namespace sage
