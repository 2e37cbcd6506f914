// What threshold searchers minimise.
#pragma once

#include <optional>

#include "core/config/schema.h"
#include "core/strategy/threshold.h"

namespace sage {

// With D = relative error, B_paper and B_stored bits per weight of one trial (TrialResult):
//   error            D
//   lagrangian       D + lambda * B, B = B_paper or B_stored (lambda_bits); lambda in units of D per bit
//   rate_distortion  1/2 log2 D + B_stored: how many bits the trial lies above a Gaussian rate-distortion curve, up to a
//                    constant
//   budget           D, subject to B_stored <= budget
// `error` is minimised by ever larger salient shares where the unsalient code is poor (one or two groups): it needs a cap, a
// price or a budget. The budget is kept by a penalty: a trial over it scores D + 4 + 100 * excess, so that every trial within
// the budget beats every trial over it (D of a sensible code is below 1), and a search outside is still led back inside.
struct Objective {
  enum class Kind { kError, kLagrangian, kRateDistortion, kBudget };
  enum class Bits { kPaper, kStored };
  Kind objective = Kind::kError;
  double lambda = 0.5;
  Bits lambda_bits = Bits::kPaper;
  std::optional<double> budget;  // stored bits per weight

  double value(const TrialResult& r) const;
  std::optional<double> most_stored_bits() const { return objective == Kind::kBudget ? budget : std::nullopt; }
  // UserError when the kind needs a parameter that is absent.
  void check(const char* searcher) const;
};

// Adds the objective's parameters to the schema of a searcher whose Params derive from Objective.
template <class P>
Schema<P> add_objective(Schema<P> schema) {
  using K = Objective::Kind;
  using B = Objective::Bits;
  return schema
      .add("objective", static_cast<K P::*>(&Objective::objective),
           choices<K>({{"error", K::kError},
                       {"lagrangian", K::kLagrangian},
                       {"rate_distortion", K::kRateDistortion},
                       {"budget", K::kBudget}}),
           "What is minimised: D; D + lambda bits; 1/2 log2 D + stored bits; or D within a budget of stored bits.")
      .add("lambda", static_cast<double P::*>(&Objective::lambda), range(0.0, 1e6), "Price of one bit per weight (lagrangian).")
      .add("lambda_bits", static_cast<B P::*>(&Objective::lambda_bits),
           choices<B>({{"paper", B::kPaper}, {"stored", B::kStored}}), "Which count of bits lambda prices (lagrangian).")
      .add("budget", static_cast<std::optional<double> P::*>(&Objective::budget), range(0.0, 64.0),
           "Most stored bits per weight (budget).");
}

}  // namespace sage
