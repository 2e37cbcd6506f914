// Groups of magnitude with the least squared error.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/grouping.h"

namespace sage {

// One-dimensional k-means on |w| over all unsalient weights: Lloyd's iteration from equal-count groups to convergence. Group g
// is the interval c_g <= |w| < c_{g+1}, c_g the midpoint of neighbouring group means. With alpha_g = mean |w| of the group it
// minimises sum (|w| - alpha_g)^2 (locally; globally for log-concave densities), so it bounds what any magnitude grouping can
// do, the paper's graph included. For |N(0,1)| and K = 2, 4, 8: D = .1175, .0346, .0095. `iterations: 0` leaves the equal-count
// start. Stored: ceil(log2 K) bits per weight before entropy coding (coder `ids`). Cost: one histogram pass, then O(K) per
// step.
class KMeansGrouping final : public GroupingStrategy {
 public:
  struct Params {
    int groups = 2;
    int iterations = 2000;
  };
  static constexpr auto kName = "kmeans";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Magnitude groups of least squared error (1-D k-means over all weights).";
  static constexpr Citation kReference{"Lloyd", "IEEE Trans. Inf. Theory 28 (1982) 129", ""};
  static Schema<Params> schema();
  explicit KMeansGrouping(Params p) : params_(p) {}

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return params_.groups; }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
