#include "strategies/grouping/fixed.h"

#include <algorithm>
#include <cmath>

#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/options.h"

namespace sage {

Schema<FixedGrouping::Params> FixedGrouping::schema() {
  return Schema<Params>{}
      .add("cuts", &Params::cuts, range(0.0, 1e30), "Ascending magnitudes at which a new group begins.")
      .add("units", &Params::units, choices<Units>({{"absolute", Units::kAbsolute}, {"rms", Units::kRms}}),
           "Whether cuts are weights or multiples of the root mean square.");
}

FixedGrouping::FixedGrouping(Params p) : params_(std::move(p)) {
  if (!std::is_sorted(params_.cuts.begin(), params_.cuts.end()) ||
      static_cast<int64_t>(params_.cuts.size()) >= kMaxStoredGroups)
    throw UserError("grouping {}: found {} cuts; expected at most {} in ascending order; sort or shorten the list", kName,
                    params_.cuts.size(), kMaxStoredGroups - 1);
}

std::unique_ptr<GroupingModel> FixedGrouping::prepare(const BlockContext& ctx, const SaliencyMask&,
                                                      std::optional<int64_t> groups) const {
  grouping::expect_groups(kName, groups, max_groups(0, 0));
  double unit = 1;
  if (params_.units == Units::kRms) {
    const Moments m = ctx.backend.matrix_stats(ctx.weights).moments;
    unit = m.count > 0 ? std::sqrt(m.sq_sum / static_cast<double>(m.count)) : 0;
  }
  std::vector<float> cuts;
  for (const double c : params_.cuts)
    cuts.push_back(static_cast<float>(c * unit));
  return std::make_unique<MagnitudeGroups>(std::move(cuts));
}

GroupMap FixedGrouping::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, max_groups(rows, cols), max_groups(rows, cols));
  return element_layout(rows, cols, groups);
}

}  // namespace sage
