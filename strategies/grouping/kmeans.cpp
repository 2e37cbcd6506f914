#include "strategies/grouping/kmeans.h"

#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/magnitude_profile.h"
#include "strategies/grouping/options.h"

namespace sage {

Schema<KMeansGrouping::Params> KMeansGrouping::schema() {
  return Schema<Params>{}
      .add("groups", &Params::groups, range(1, static_cast<int>(kMaxStoredGroups)), "Number of groups K.")
      .add("iterations", &Params::iterations, range(0, 100000),
           "Most Lloyd steps; fewer when the squared error stops falling.");
}

std::unique_ptr<GroupingModel> KMeansGrouping::prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                       std::optional<int64_t> groups) const {
  const MagnitudeProfile profile(ctx.backend, ctx.weights, Selection{&mask, false});
  std::vector<double> cuts = profile.equal_count_cuts(groups.value_or(params_.groups));
  const int steps = profile.lloyd(cuts, params_.iterations, 1e-10);
  if (ctx.trace != nullptr) {
    ctx.trace->scalar("grouping.K", static_cast<double>(cuts.size() + 1));
    ctx.trace->scalar("grouping.lloyd_steps", steps);
    if (ctx.trace->enabled()) {
      ctx.trace->array("grouping.cuts", {static_cast<int64_t>(cuts.size())}, cuts);
      ctx.trace->array("grouping.centroids", {static_cast<int64_t>(cuts.size()) + 1}, profile.means(cuts));
    }
  }
  return std::make_unique<MagnitudeGroups>(std::vector<float>(cuts.begin(), cuts.end()));
}

GroupMap KMeansGrouping::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, 1, params_.groups);
  return element_layout(rows, cols, groups);
}

}  // namespace sage
