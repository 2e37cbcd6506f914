// Grouping strategies: which of the unsalient weights share parameters.
#pragma once

#include <memory>
#include <optional>

#include "core/strategy/context.h"
#include "core/tensor/mask.h"

namespace sage {

// The outcome of the expensive part (graph, spectrum, Lloyd): able to label every weight.
class GroupingModel {
 public:
  virtual ~GroupingModel() = default;
  virtual int64_t groups() const = 0;
  // Labels for the block; salient weights get label 0.
  virtual GroupMap assign(const BlockContext& ctx, const SaliencyMask& mask) const = 0;
};

class GroupingStrategy {
 public:
  virtual ~GroupingStrategy() = default;
  // `groups`: use exactly this many groups instead of choosing (threshold searches hold K fixed to keep D(r) continuous).
  virtual std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                 std::optional<int64_t> groups) const = 0;
  // Largest number of groups this configuration can produce for a rows x cols block (for planning and header checks).
  virtual int64_t max_groups(int64_t rows, int64_t cols) const = 0;
  // Decoding a map that follows from position alone (GroupMap::implied): rebuilds it. `groups` comes from the file's header.
  // Strategies whose labels are stored return their LabelShape and block here with empty labels; the engine fills them in.
  virtual GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const = 0;
};

}  // namespace sage
