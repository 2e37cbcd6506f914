#include "strategies/grouping/magnitude_groups.h"

#include <algorithm>
#include <bit>

#include "core/util/errors.h"

namespace sage {

MagnitudeGroups::MagnitudeGroups(std::vector<float> cuts) : cuts_(std::move(cuts)) {
  if (!std::is_sorted(cuts_.begin(), cuts_.end()) || static_cast<int64_t>(cuts_.size()) >= kMaxStoredGroups)
    throw Error(ExitCode::kInternalError, "magnitude groups: cuts must ascend and be at most 255");
}

GroupMap element_layout(int64_t rows, int64_t cols, int64_t groups) {
  GroupMap map = GroupMap::single(rows, cols);
  if (groups <= 1) return map;
  map.shape = LabelShape::kElement;
  map.groups = groups;
  map.implied = false;
  return map;
}

void clear_salient(GroupMap& map, const SaliencyMask& mask) {
  if (map.shape != LabelShape::kElement || mask.shape() == MaskShape::kNone) return;
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < map.rows; ++i)
    for (int64_t k = 0; k < mask.words_per_row(); ++k)
      for (uint64_t bits = mask.row(i)[k]; bits != 0; bits &= bits - 1)
        map.element[static_cast<size_t>(i * map.cols + k * 64 + std::countr_zero(bits))] = 0;
}

GroupMap MagnitudeGroups::assign(const BlockContext& ctx, const SaliencyMask& mask) const {
  GroupMap map = element_layout(ctx.weights.rows, ctx.weights.cols, groups());
  if (map.shape == LabelShape::kSingle) return map;
  map.element.resize(static_cast<size_t>(ctx.weights.size()));
  ctx.backend.assign_by_magnitude(ctx.weights, cuts_, map.element.data());
  clear_salient(map, mask);
  return map;
}

}  // namespace sage
