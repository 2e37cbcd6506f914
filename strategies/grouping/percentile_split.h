// Two groups, cut at the best of evenly spaced quantiles.
#pragma once

#include "core/registry/registry.h"
#include "strategies/grouping/split_search.h"

namespace sage {

// Candidates are the quantiles of |X| at `points` probabilities from lo to hi, X the filter's target or the weights (`on`) with
// the salient entries set to zero, not left out: the released code of BiLLM does so, and a candidate may be 0. Tried as
// split_search.h says; group 0 holds what lies below the cut, group 1 the rest. Probabilities and quantiles are those of torch
// and NumPy to the last bit (quantiles.h).
//
// The defaults are BiLLM's released code: it splits the saliency matrix where its paper (arXiv:2402.04291, Eq. 11-13) splits
// the weights, and with a Hessian the search mostly ends on its upper bound. A cut that equals a weight puts it above. Stored:
// one bit per unsalient weight before entropy coding. Cost: a sort of the block, one of each row, and a pass per candidate:
// about 50 ms for 4096 x 128 and 81 candidates on one core.
class PercentileSplit final : public GroupingStrategy {
 public:
  using On = grouping::SplitOn;
  struct Params {
    On on = On::kSaliency;
    double lo = 0.1;
    double hi = 0.9;
    int points = 81;
    bool centered = true;
  };
  static constexpr auto kName = "percentile_split";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Two groups, cut at the quantile of the saliency (or of |w|) that binarizes best.";
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "bell-shaped distribution splitting"};
  static Schema<Params> schema();
  explicit PercentileSplit(Params p);

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return 2; }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
