// A given cut.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// Cuts at `ratio`, or at t = `sigmas` standard deviations where that is given. No trials. The objective only serves to compare
// alternatives of a pipeline. lowest_ratio() is the value of the cut, in the unit of unit().
class FixedThreshold final : public ThresholdSearcher {
 public:
  struct Params : Objective {
    double ratio = 0.01;
    std::optional<double> sigmas;
  };
  static constexpr auto kName = "fixed";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "A given share of salient weights, or a given number of standard deviations.";
  static constexpr Citation kReference{};
  static Schema<Params> schema();
  explicit FixedThreshold(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  Cut::Unit unit() const override { return params_.sigmas ? Cut::Unit::kSigmas : Cut::Unit::kRatio; }
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return params_.sigmas.value_or(params_.ratio); }
  bool needs_trials() const override { return false; }

 private:
  Params params_;
};

}  // namespace sage
