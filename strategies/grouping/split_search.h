// The cut that divides a block's unsalient weights into two groups which binarize best.
#pragma once

#include <span>
#include <vector>

#include "core/strategy/grouping.h"

namespace sage::grouping {

// What is split and binarized on trial: what the saliency filter measures by, or the weights.
enum class SplitOn { kSaliency, kWeights };
// That matrix. UserError naming the strategy when the filter has no target.
WeightView split_matrix(const BlockContext& ctx, SplitOn on, const char* strategy);

// Group 1 where |x| >= cut, group 0 below; salient weights get 0. Stored: an id of one bit per unsalient weight.
class SplitGroups final : public GroupingModel {
 public:
  SplitGroups(float cut, SplitOn on, const char* strategy) : cut_(cut), on_(on), strategy_(strategy) {}
  int64_t groups() const override { return 2; }
  GroupMap assign(const BlockContext& ctx, const SaliencyMask& mask) const override;

 private:
  float cut_;
  SplitOn on_;
  const char* strategy_;
};

// The model of the candidate p with the least error, the first of those. With M3 the salient weights, M1 those of the others
// with |x| < p, M2 those with |x| >= p:
//   err_p = mean over the block of (X - B1(X, M1) - B1(X, M2) - B2(X, M3))^2
// B_K: masked residual binarization per row, K times (Backend::split_errors). Candidates (ascending, not none) with the same
// groups have the same error, to the last bit. RunError where X is not finite. Trace: split.value, split.index; split.values,
// split.errors (err_p), split.upper_counts (weights of M2) per candidate.
// Cost on the CPU: a sort of every row; then one pass per candidate over the rows whose groups it changes.
std::unique_ptr<GroupingModel> best_split(const BlockContext& ctx, const SaliencyMask& mask, std::span<const float> candidates,
                                          SplitOn on, bool centered, const char* strategy);

}  // namespace sage::grouping
