#include "strategies/grouping/split_search.h"

#include <algorithm>

#include "core/util/errors.h"
#include "strategies/grouping/magnitude_groups.h"
#include "strategies/quantizer/finite.h"

namespace sage::grouping {

WeightView split_matrix(const BlockContext& ctx, SplitOn on, const char* strategy) {
  if (on == SplitOn::kWeights) return ctx.weights;
  if (ctx.saliency_target.rows != ctx.weights.rows || ctx.saliency_target.cols != ctx.weights.cols)
    throw UserError(
        "grouping {}: found a saliency filter without a matrix to split; expected magnitude, columns, hessian or "
        "hessian_inverse_diag; choose one of them, or 'on: weights'",
        strategy);
  return ctx.saliency_target;
}

GroupMap SplitGroups::assign(const BlockContext& ctx, const SaliencyMask& mask) const {
  const WeightView x = split_matrix(ctx, on_, strategy_);
  GroupMap map = element_layout(x.rows, x.cols, 2);
  map.element.resize(static_cast<size_t>(x.size()));
  const float cut[] = {cut_};
  ctx.backend.assign_by_magnitude(x, cut, map.element.data());
  clear_salient(map, mask);
  return map;
}

std::unique_ptr<GroupingModel> best_split(const BlockContext& ctx, const SaliencyMask& mask, std::span<const float> candidates,
                                          SplitOn on, bool centered, const char* strategy) {
  const WeightView x = split_matrix(ctx, on, strategy);
  for (const float candidate : candidates)
    expect_finite(candidate, ctx.id, strategy);
  std::vector<double> errors(candidates.size());
  std::vector<int64_t> upper(candidates.size());
  ctx.backend.split_errors(x, {.cuts = candidates, .apart = &mask, .centered = centered}, errors, upper);
  for (double& e : errors) {
    expect_finite(e, ctx.id, strategy);
    e /= static_cast<double>(std::max<int64_t>(1, x.size()));
  }
  const auto best = static_cast<size_t>(std::min_element(errors.begin(), errors.end()) - errors.begin());
  const float cut = candidates[best];
  if (ctx.trace != nullptr) {
    ctx.trace->scalar(ctx.trace_name("split.value"), cut);
    ctx.trace->scalar(ctx.trace_name("split.index"), static_cast<double>(best));
    const int64_t n = static_cast<int64_t>(candidates.size());
    ctx.trace->array(ctx.trace_name("split.values"), {n}, {candidates.begin(), candidates.end()});
    ctx.trace->array(ctx.trace_name("split.upper_counts"), {n}, {upper.begin(), upper.end()});
    ctx.trace->array(ctx.trace_name("split.errors"), {n}, std::move(errors));
  }
  return std::make_unique<SplitGroups>(cut, on, strategy);
}

}  // namespace sage::grouping
