// Groups that follow from where a weight stands.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/grouping.h"

namespace sage {

// unit:
//   columns     `block` neighbouring columns share their parameters, over all rows: ceil(n / block) groups, no ids
//   rows        one group per row: m groups, no ids
//   row_block   one group per row and `block` columns: m ceil(n / block) groups, no ids (16 / block bits of scale per weight)
//   shared_ids  one stored id per row and `block` columns, out of `groups` shared groups: 1-D k-means of the blocks' mean
//   unsalient
//               |w|, weighted by their unsalient counts, from equal-count starts; ceil(log2 K) / block bits per weight
// The last block of a row may be ragged. The reading of SAGE-PTQ that its stated sizes support: positions cost nothing to
// store, but on normal weights D stays near .32 unless a scalar is paid per row block.
class PositionalGrouping final : public GroupingStrategy {
 public:
  enum class Unit { kColumns, kRows, kRowBlock, kSharedIds };
  struct Params {
    Unit unit = Unit::kColumns;
    int block = 128;
    int groups = 8;
  };
  static constexpr auto kName = "positional";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Groups by position: column blocks, rows, 1xB blocks, or 1xB blocks with shared ids.";
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "group scales, read without ids"};
  static Schema<Params> schema();
  explicit PositionalGrouping(Params p) : params_(p) {}

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t rows, int64_t cols) const override;
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
