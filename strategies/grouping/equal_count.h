// Groups of magnitude with equally many members.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/grouping.h"

namespace sage {

// Cut k = 1 .. K-1 is the unsalient magnitude of rank floor(k n / K), n unsalient weights, exactly; a weight equal to a cut
// belongs above it. This is what spectral clustering of a self-tuned one-dimensional neighbour graph converges to, whatever the
// density: the graph is a path in rank. For |N(0,1)| and K = 2, 4, 8: D = .1394, .0550, .0222. Stored: log2 K bits per weight;
// entropy coding gains nothing. Cost: one histogram pass, one pass that gathers the bins of the cuts.
class EqualCountGrouping final : public GroupingStrategy {
 public:
  struct Params {
    int groups = 2;
  };
  static constexpr auto kName = "equal_count";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Magnitude groups of equal size (quantiles of |w|).";
  static constexpr Citation kReference{};
  static Schema<Params> schema();
  explicit EqualCountGrouping(Params p) : params_(p) {}

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return params_.groups; }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
