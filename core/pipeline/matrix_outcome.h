// What was decided and measured on the way of one matrix, beyond its error and its bits: kept with the run, for tables.
#pragma once

#include <cstdint>
#include <optional>

#include "core/strategy/context.h"

namespace sage {

// A figure is absent where the pipeline has no such step.
struct MatrixOutcome {
  std::optional<double> gram_loss;         // gram_loss.h
  std::optional<double> percdamp;          // damping of the inputs' Gram as used in the end, over its mean diagonal
  std::optional<int64_t> damping_retries;  // 0 = the damping asked for was enough
  std::optional<int64_t> dead_columns;     // inputs that were always zero
  std::optional<double> threshold_cut;     // where saliency was cut, in the searcher's unit; the mean over segments

  bool operator==(const MatrixOutcome&) const = default;
};

// From what the engine and its components reported.
MatrixOutcome outcome_of(const Trace& trace);

}  // namespace sage
