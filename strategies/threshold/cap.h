// The largest cut whose paper bits stay under a cap.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// r = max { r in [0, max_ratio] : (1 - r) b_u + r b_s <= bits }, the weight bits as the paper counts them (no scales, no
// index): with b_u = 1, r = (bits - 1) / (b_s - 1), e.g. 1 % for 1.03 bits and b_s = 4. Found by bisection to the last bit of a
// double, on the closed form alone: no trials. UserError when even r = 0 exceeds the cap. SAGE-PTQ states 1.03 weight bits; (r,
// b_s) = (3 %, 2), (1.5 %, 3), (1 %, 4) all reach it.
class CapThreshold final : public ThresholdSearcher {
 public:
  struct Params : Objective {
    double bits = 1.03;
    double max_ratio = 0.5;
  };
  static constexpr auto kName = "cap";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "The largest salient share whose weight bits, as the paper counts them, stay under a cap.";
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "1.03 weight bits"};
  static Schema<Params> schema();
  explicit CapThreshold(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return 0; }
  bool needs_trials() const override { return false; }

 private:
  Params params_;
};

}  // namespace sage
