// A given share of weights that are not salient.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// Cuts at the score of rank floor(low_frac N) of the N scores of the block; scores above it are salient (Cut, kPercentile).
// This is --low_frac of the released PB-LLM, floor(N f) + 1 weights and ties of the last one being low; `fixed` with ratio 1 -
// low_frac cuts at rank floor(f (N - 1)), one weight apart in general. low_frac = 1 is refused: that rank does not exist. No
// trials. lowest_ratio() is low_frac, in the unit of unit().
class PercentileThreshold final : public ThresholdSearcher {
 public:
  struct Params : Objective {
    double low_frac = 0.9;
  };
  static constexpr auto kName = "percentile";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "A given share of weights that are not salient, as PB-LLM cuts.";
  static constexpr Citation kReference{"PB-LLM", "arXiv:2310.00034", "low_frac"};
  static Schema<Params> schema();
  explicit PercentileThreshold(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  Cut::Unit unit() const override { return Cut::Unit::kPercentile; }
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return params_.low_frac; }
  bool needs_trials() const override { return false; }

 private:
  Params params_;
};

}  // namespace sage
