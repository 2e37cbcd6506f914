// One group.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/grouping.h"

namespace sage {

// All unsalient weights share their parameters. No id is stored.
class SingleGroup final : public GroupingStrategy {
 public:
  struct Params {};
  static constexpr auto kName = "single";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "One group for the whole matrix; no ids.";
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit SingleGroup(Params) {}

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return 1; }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;
};

}  // namespace sage
