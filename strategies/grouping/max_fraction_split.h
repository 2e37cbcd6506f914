// Two groups, cut at the best fraction of the largest magnitude.
#pragma once

#include "core/registry/registry.h"
#include "strategies/grouping/split_search.h"

namespace sage {

// Candidates are f max |X| over the unsalient weights, f one of `points` values from lo to hi. Tried as split_search.h says;
// group 0 holds what lies below the cut, group 1 the rest. BiLLM's Alg. 2 (arXiv:2402.04291): the defaults, binarization
// without a mean; there a weight equal to the cut goes below. The released code searches quantiles instead (percentile_split).
// Stored: one bit per unsalient weight before entropy coding. Cost: a sort of each row, and a pass per candidate.
class MaxFractionSplit final : public GroupingStrategy {
 public:
  using On = grouping::SplitOn;
  struct Params {
    On on = On::kWeights;
    double lo = 0.1;
    double hi = 0.9;
    int points = 9;
    bool centered = false;
  };
  static constexpr auto kName = "max_fraction_split";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Two groups, cut at the fraction of the largest |w| that binarizes best.";
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "Alg. 2 (seg_search)"};
  static Schema<Params> schema();
  explicit MaxFractionSplit(Params p);

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return 2; }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
