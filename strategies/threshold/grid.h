// The best of evenly spaced cuts.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// Tries `points` ratios from lo to hi, both included, and takes the first with the least objective. One trial each.
class GridThreshold final : public ThresholdSearcher {
 public:
  struct Params : Objective {
    Params() { objective = Kind::kRateDistortion; }
    double lo = 0.0;
    double hi = 0.06;
    int points = 13;
  };
  static constexpr auto kName = "grid";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "The best of evenly spaced salient shares.";
  static constexpr Citation kReference{};
  static Schema<Params> schema();
  explicit GridThreshold(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return params_.lo; }
  bool needs_trials() const override { return true; }

 private:
  Params params_;
};

}  // namespace sage
