// A given number of columns.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/threshold.h"
#include "strategies/threshold/objective.h"

namespace sage {

// The best `columns` columns of every block, all of a block that has fewer. No trials. lowest_ratio() is the count, in the unit
// of unit(). The control of `column_search`.
class ColumnCount final : public ThresholdSearcher {
 public:
  struct Params : Objective {
    int columns = 5;
  };
  static constexpr auto kName = "column_count";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "A given number of salient columns in every block.";
  static constexpr Citation kReference{};
  static Schema<Params> schema();
  explicit ColumnCount(Params p);

  SearchOutcome search(const SearchProblem& problem) const override;
  Cut::Unit unit() const override { return Cut::Unit::kCount; }
  double objective(const TrialResult& r) const override { return params_.value(r); }
  std::optional<double> most_stored_bits() const override { return params_.most_stored_bits(); }
  double lowest_ratio() const override { return params_.columns; }
  bool needs_trials() const override { return false; }

 private:
  Params params_;
};

}  // namespace sage
