// What is decided about one segment of columns before its weights are coded: the cut, the salient weights, the groups.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/pipeline/pipeline.h"
#include "core/pipeline/storage_count.h"

namespace sage {

struct SegmentPlan {
  SaliencyMask mask = SaliencyMask::none(0, 0);
  double threshold = 0;  // the score at the cut
  GroupMap groups;
};

class BlockPlanner {
 public:
  // matrix: the whole matrix; the context holds all or a sample of its rows. References must outlive the planner.
  BlockPlanner(const Pipeline& pipeline, const BlockContext& ctx, MatrixShape matrix, TransformCost transform)
      : p_(pipeline), ctx_(ctx), matrix_(matrix), transform_(transform) {}

  // Chooses cut, mask and groups: score, search, group. Where the pipeline's trials look at a sample of the weights, the cut is
  // searched there and its ratio taken over. A budget is checked against all rows then: where the file would need more than the
  // sample says, the sample's bits are raised by the difference and searched again.
  SegmentPlan plan() const;

 private:
  struct Found {
    SegmentPlan plan;
    double stored_bits = 0;  // as the search saw them, where it made trials
  };
  Found search(double extra_bits) const;
  SegmentPlan plan_at_ratio(double ratio) const;
  TrialResult trial(const SaliencyMask& mask, const GroupMap& groups, double threshold) const;
  GroupMap group(const SaliencyMask& mask, const SaliencyScores* scores) const;
  void report(const SearchOutcome& outcome) const;

  const Pipeline& p_;
  const BlockContext& ctx_;
  MatrixShape matrix_;
  TransformCost transform_;
  mutable std::optional<double> energy_;  // sum w^2 of what the trials see; a plain cut never needs it
};

// The rows of about `weights` weights, evenly spaced; all of them for 0.
std::vector<int64_t> trial_rows(int64_t rows, int64_t cols, int64_t weights);
// Those rows of w. Empty when all of w is wanted.
std::optional<Matrix> trial_sample(WeightView w, int64_t weights);

}  // namespace sage
