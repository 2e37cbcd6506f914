// What is decided about one segment of columns before its weights are coded: the cut, the salient weights, the groups.
#pragma once

#include <memory>
#include <optional>

#include "core/pipeline/pipeline.h"

namespace sage {

struct SegmentPlan {
  SaliencyMask mask = SaliencyMask::none(0, 0);
  double threshold = 0;  // the score at the cut
  GroupMap groups;
  double objective = 0;
};

inline Selection unsalient_of(const SaliencyMask& mask) { return {&mask, false}; }
inline Selection salient_of(const SaliencyMask& mask) { return {&mask, true}; }

class BlockPlanner {
 public:
  // matrix_rows: of the whole matrix; a context of fewer rows is a sample of it. Both references must outlive the planner.
  BlockPlanner(const Pipeline& pipeline, const BlockContext& ctx, int64_t matrix_rows, double transform_bits_per_weight);

  // Chooses cut, mask and groups: score, search, group.
  SegmentPlan plan(bool want_objective) const;
  // The same at a given share of salient weights, found elsewhere (on a sample).
  SegmentPlan plan_at_ratio(double ratio) const;

 private:
  TrialResult trial(const SaliencyMask& mask, const GroupMap& groups, double threshold) const;
  GroupMap group(const SaliencyMask& mask, const SaliencyScores* scores) const;
  void report(const SearchOutcome& outcome) const;

  const Pipeline& p_;
  const BlockContext& ctx_;
  int64_t matrix_rows_;
  double transform_bits_;
  mutable std::optional<double> energy_;  // sum w^2 of what the trials see; a plain cut never needs it
};

// About `weights` weights of w: whole rows, evenly spaced. Empty when all of w is wanted.
std::optional<Matrix> trial_sample(WeightView w, int64_t weights);

}  // namespace sage
