// Groups that are intervals of magnitude.
#pragma once

#include <span>
#include <vector>

#include "core/strategy/grouping.h"

namespace sage {

// Group of a weight: the number of cuts <= |w|. One id per weight, stored; salient weights get 0. With no cut at all everything
// is one group and no id is stored.
class MagnitudeGroups final : public GroupingModel {
 public:
  explicit MagnitudeGroups(std::vector<float> cuts);  // ascending, at most 255
  int64_t groups() const override { return static_cast<int64_t>(cuts_.size()) + 1; }
  GroupMap assign(const BlockContext& ctx, const SaliencyMask& mask) const override;
  std::span<const float> cuts() const { return cuts_; }

 private:
  std::vector<float> cuts_;
};

// The map of per-weight ids before they are known: what layout() of such strategies returns.
GroupMap element_layout(int64_t rows, int64_t cols, int64_t groups);
// Sets the labels of salient weights to 0.
void clear_salient(GroupMap& map, const SaliencyMask& mask);

inline constexpr int64_t kMaxStoredGroups = 256;  // an id is a byte
}  // namespace sage
