#include "strategies/grouping/positional.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/util/errors.h"
#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/options.h"

namespace sage {
namespace {

// Groups known from the shape of the block alone.
class ImpliedGroups final : public GroupingModel {
 public:
  ImpliedGroups(const PositionalGrouping& strategy, int64_t groups) : strategy_(strategy), groups_(groups) {}
  int64_t groups() const override { return groups_; }
  GroupMap assign(const BlockContext& ctx, const SaliencyMask&) const override {
    return strategy_.layout(ctx.weights.rows, ctx.weights.cols, groups_);
  }

 private:
  PositionalGrouping strategy_;
  int64_t groups_;
};

struct BlockMeans {
  std::vector<float> mean;      // of the unsalient |w|; 0 for a block without any
  std::vector<uint32_t> count;  // unsalient weights
};

BlockMeans block_means(WeightView w, const Selection& own, int64_t block) {
  const int64_t per_row = (w.cols + block - 1) / block;
  BlockMeans out{std::vector<float>(static_cast<size_t>(w.rows * per_row)),
                 std::vector<uint32_t>(static_cast<size_t>(w.rows * per_row))};
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t b = 0; b < per_row; ++b) {
      double sum = 0;
      uint32_t n = 0;
      for (int64_t j = b * block; j < std::min(w.cols, (b + 1) * block); ++j)
        if (own.owns(i, j)) {
          sum += std::abs(w(i, j));
          ++n;
        }
      const size_t at = static_cast<size_t>(i * per_row + b);
      out.mean[at] = n > 0 ? static_cast<float>(sum / n) : 0.0f;
      out.count[at] = n;
    }
  return out;
}

// Weighted 1-D k-means of the block means, sorted once: cuts between the shared groups.
std::vector<float> shared_cuts(const BlockMeans& blocks, int64_t groups) {
  std::vector<uint32_t> order;
  for (uint32_t b = 0; b < blocks.mean.size(); ++b)
    if (blocks.count[b] > 0) order.push_back(b);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return blocks.mean[a] != blocks.mean[b] ? blocks.mean[a] < blocks.mean[b] : a < b; });
  const size_t n = order.size();
  std::vector<double> weight(n + 1, 0.0), sum(n + 1, 0.0), square(n + 1, 0.0);
  for (size_t k = 0; k < n; ++k) {
    const double c = blocks.count[order[k]], x = blocks.mean[order[k]];
    weight[k + 1] = weight[k] + c;
    sum[k + 1] = sum[k] + c * x;
    square[k + 1] = square[k] + c * x * x;
  }
  std::vector<double> cuts;
  for (int64_t g = 1; g < groups; ++g)
    cuts.push_back(n == 0 ? 0.0 : blocks.mean[order[static_cast<size_t>(g) * n / static_cast<size_t>(groups)]]);
  double last = std::numeric_limits<double>::infinity();
  for (int step = 0; step < 1000 && n > 0; ++step) {
    std::vector<double> means(static_cast<size_t>(groups));
    double error = 0;
    size_t from = 0;
    for (size_t g = 0; g < means.size(); ++g) {
      size_t to = n;
      if (g < cuts.size())
        to = static_cast<size_t>(
            std::lower_bound(order.begin(), order.end(), cuts[g], [&](uint32_t b, double c) { return blocks.mean[b] < c; }) -
            order.begin());
      to = std::max(to, from);
      const double c = weight[to] - weight[from], s = sum[to] - sum[from];
      const double edge = g < cuts.size() ? cuts[g] : cuts.empty() ? 0.0 : cuts.back();
      means[g] = c > 0 ? s / c : g == 0 ? edge : std::max(means[g - 1], (cuts[g - 1] + edge) / 2);
      if (c > 0) error += square[to] - square[from] - s * s / c;
      from = to;
    }
    if (last - error <= 1e-9 * std::abs(error)) break;
    last = error;
    for (size_t g = 0; g < cuts.size(); ++g)
      cuts[g] = (means[g] + means[g + 1]) / 2;
  }
  std::sort(cuts.begin(), cuts.end());
  return {cuts.begin(), cuts.end()};
}

class SharedGroups final : public GroupingModel {
 public:
  SharedGroups(std::vector<float> cuts, int64_t block) : cuts_(std::move(cuts)), block_(block) {}
  int64_t groups() const override { return static_cast<int64_t>(cuts_.size()) + 1; }
  GroupMap assign(const BlockContext& ctx, const SaliencyMask& mask) const override {
    GroupMap map = GroupMap::single(ctx.weights.rows, ctx.weights.cols);
    if (groups() == 1) return map;
    map.shape = LabelShape::kRowBlock;
    map.groups = groups();
    map.block = block_;
    map.implied = false;
    const BlockMeans blocks = block_means(ctx.weights, Selection{&mask, false}, block_);
    map.label.resize(blocks.mean.size());
    for (size_t b = 0; b < blocks.mean.size(); ++b)
      map.label[b] = blocks.count[b] == 0
                         ? 0
                         : static_cast<uint32_t>(std::upper_bound(cuts_.begin(), cuts_.end(), blocks.mean[b]) - cuts_.begin());
    return map;
  }

 private:
  std::vector<float> cuts_;
  int64_t block_;
};

}  // namespace

Schema<PositionalGrouping::Params> PositionalGrouping::schema() {
  return Schema<Params>{}
      .add("unit", &Params::unit,
           choices<Unit>({{"columns", Unit::kColumns},
                          {"rows", Unit::kRows},
                          {"row_block", Unit::kRowBlock},
                          {"shared_ids", Unit::kSharedIds}}),
           "What shares its parameters: blocks of columns, a row, a 1xB block, or 1xB blocks with the same stored id.")
      .add("block", &Params::block, range(1, 1 << 20), "Columns per block B (not for rows).")
      .add("groups", &Params::groups, range(1, static_cast<int>(kMaxStoredGroups)), "Number of shared groups K (shared_ids).");
}

int64_t PositionalGrouping::max_groups(int64_t rows, int64_t cols) const {
  const int64_t blocks = (cols + params_.block - 1) / params_.block;
  switch (params_.unit) {
    case Unit::kColumns: return std::max<int64_t>(1, blocks);
    case Unit::kRows: return std::max<int64_t>(1, rows);
    case Unit::kRowBlock: return std::max<int64_t>(1, rows * blocks);
    case Unit::kSharedIds: return params_.groups;
  }
  return 1;
}

GroupMap PositionalGrouping::layout(int64_t rows, int64_t cols, int64_t groups) const {
  GroupMap map = GroupMap::single(rows, cols);
  if (params_.unit == Unit::kSharedIds) {
    grouping::expect_stored_groups(kName, groups, 1, params_.groups);
    if (groups == 1) return map;
    map.shape = LabelShape::kRowBlock;
    map.groups = groups;
    map.block = params_.block;
    map.implied = false;
    return map;
  }
  const int64_t known = max_groups(rows, cols);
  grouping::expect_stored_groups(kName, groups, known, known);
  map.groups = known;
  if (params_.unit == Unit::kColumns) {
    map.shape = LabelShape::kColumn;
    map.label.resize(static_cast<size_t>(cols));
    for (int64_t j = 0; j < cols; ++j)
      map.label[static_cast<size_t>(j)] = static_cast<uint32_t>(j / params_.block);
    return map;
  }
  map.shape = params_.unit == Unit::kRows ? LabelShape::kRow : LabelShape::kRowBlock;
  map.block = params_.unit == Unit::kRows ? 0 : params_.block;
  const int64_t labels = params_.unit == Unit::kRows ? rows : rows * map.blocks_per_row();
  map.label.resize(static_cast<size_t>(labels));
  for (int64_t k = 0; k < labels; ++k)
    map.label[static_cast<size_t>(k)] = static_cast<uint32_t>(k);
  return map;
}

std::unique_ptr<GroupingModel> PositionalGrouping::prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                           std::optional<int64_t> groups) const {
  if (params_.unit == Unit::kSharedIds) {
    const BlockMeans blocks = block_means(ctx.weights, Selection{&mask, false}, params_.block);
    return std::make_unique<SharedGroups>(shared_cuts(blocks, groups.value_or(params_.groups)), params_.block);
  }
  const int64_t known = max_groups(ctx.weights.rows, ctx.weights.cols);
  grouping::expect_groups(kName, groups, known);
  return std::make_unique<ImpliedGroups>(*this, known);
}

}  // namespace sage
