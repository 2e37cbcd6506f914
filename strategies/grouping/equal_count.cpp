#include "strategies/grouping/equal_count.h"

#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/magnitude_profile.h"
#include "strategies/grouping/options.h"

namespace sage {

Schema<EqualCountGrouping::Params> EqualCountGrouping::schema() {
  return Schema<Params>{}.add("groups", &Params::groups, range(1, static_cast<int>(kMaxStoredGroups)), "Number of groups K.");
}

std::unique_ptr<GroupingModel> EqualCountGrouping::prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                           std::optional<int64_t> groups) const {
  const Selection own{&mask, false};
  const MagnitudeProfile profile(ctx.backend, ctx.weights, own);
  const int64_t k = groups.value_or(params_.groups), n = own.count();
  std::vector<int64_t> ranks;
  for (int64_t g = 1; g < k; ++g)
    ranks.push_back(g * n / k);
  std::vector<float> cuts = profile.order_statistics(ctx.weights, own, ranks);
  if (ctx.trace != nullptr) {
    ctx.trace->scalar("grouping.K", static_cast<double>(k));
    ctx.trace->array("grouping.cuts", {k - 1}, std::vector<double>(cuts.begin(), cuts.end()));
  }
  return std::make_unique<MagnitudeGroups>(std::move(cuts));
}

GroupMap EqualCountGrouping::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, 1, params_.groups);
  return element_layout(rows, cols, groups);
}

}  // namespace sage
