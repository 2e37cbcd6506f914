#include "strategies/grouping/single.h"

#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/options.h"

namespace sage {

std::unique_ptr<GroupingModel> SingleGroup::prepare(const BlockContext&, const SaliencyMask&,
                                                    std::optional<int64_t> groups) const {
  grouping::expect_groups(kName, groups, 1);
  return std::make_unique<MagnitudeGroups>(std::vector<float>{});
}

GroupMap SingleGroup::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, 1, 1);
  return GroupMap::single(rows, cols);
}

}  // namespace sage
