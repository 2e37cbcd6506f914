// Groups between given magnitudes.
#pragma once

#include <vector>

#include "core/registry/registry.h"
#include "core/strategy/grouping.h"

namespace sage {

// Group of a weight: the number of `cuts` <= |w| / u, with u = 1 (units: absolute) or the root mean square of the block's
// weights, salient ones included (units: rms). For controls and for cuts found elsewhere: .9816 rms is the optimum of two
// groups for normal weights. Stored: ceil(log2(cuts + 1)) bits per weight before entropy coding.
class FixedGrouping final : public GroupingStrategy {
 public:
  enum class Units { kAbsolute, kRms };
  struct Params {
    std::vector<double> cuts = {0.9816};
    Units units = Units::kRms;
  };
  static constexpr auto kName = "fixed";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Magnitude groups between given cuts.";
  static constexpr Citation kReference{};
  static Schema<Params> schema();
  explicit FixedGrouping(Params p);

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return static_cast<int64_t>(params_.cuts.size()) + 1; }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
