#include "strategies/grouping/split_search.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/util/errors.h"
#include "strategies/binarization/binarization_error.h"
#include "strategies/grouping/magnitude_groups.h"

namespace sage::grouping {
namespace {

// One row: its unsalient values by ascending magnitude, its salient ones as they come.
class Row {
 public:
  explicit Row(int64_t cols) : keys_(static_cast<size_t>(cols)), values_(keys_.size()), magnitudes_(keys_.size()) {
    salient_.reserve(keys_.size());
  }

  void load(const float* x, int64_t cols, const SaliencyMask& mask, int64_t i) {
    count_ = 0;
    salient_.clear();
    for (int64_t j = 0; j < cols; ++j) {
      // The sign bit goes last, so that the integers sort by magnitude.
      if (mask.test(i, j))
        salient_.push_back(x[j]);
      else
        keys_[count_++] = std::rotl(std::bit_cast<uint32_t>(x[j]), 1);
    }
    std::sort(keys_.begin(), keys_.begin() + static_cast<std::ptrdiff_t>(count_));
    for (size_t k = 0; k < count_; ++k) {
      const float v = std::bit_cast<float>(std::rotr(keys_[k], 1));
      values_[k] = v;
      magnitudes_[k] = std::abs(v);
    }
  }
  std::span<const double> unsalient() const { return {values_.data(), count_}; }
  std::span<const double> salient() const { return salient_; }
  // How many unsalient magnitudes are below p, given that `from` are.
  size_t below(float p, size_t from) const {
    while (from < count_ && magnitudes_[from] < p)
      ++from;
    return from;
  }

 private:
  size_t count_ = 0;
  std::vector<uint32_t> keys_;
  std::vector<double> values_;
  std::vector<float> magnitudes_;
  std::vector<double> salient_;
};

}  // namespace

WeightView split_matrix(const BlockContext& ctx, SplitOn on, const char* strategy) {
  if (on == SplitOn::kWeights) return ctx.weights;
  if (ctx.saliency_target.rows != ctx.weights.rows || ctx.saliency_target.cols != ctx.weights.cols)
    throw UserError(
        "grouping {}: found a saliency filter without a matrix to split; expected magnitude, columns, hessian or "
        "hessian_inverse_diag; choose one of them, or 'on: weights'",
        strategy);
  return ctx.saliency_target;
}

SplitTrials try_splits(WeightView x, const SaliencyMask& mask, std::span<const float> candidates, bool centered) {
  constexpr int64_t kChunk = 64;  // rows added up by one thread, in order
  const int64_t chunks = (x.rows + kChunk - 1) / kChunk;
  const size_t n = candidates.size();
  const BinarizationRule once{1, centered}, twice{2, centered};
  std::vector<double> errors(static_cast<size_t>(chunks) * n, 0.0);
  std::vector<int64_t> upper(static_cast<size_t>(chunks) * n, 0);
#pragma omp parallel
  {
    Row row(x.cols);
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      double* chunk_errors = errors.data() + static_cast<size_t>(chunk) * n;
      int64_t* chunk_upper = upper.data() + static_cast<size_t>(chunk) * n;
      for (int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, x.rows); ++i) {
        row.load(x.row(i), x.cols, mask, i);
        const std::span<const double> all = row.unsalient();
        const double salient_error = binarization_error(row.salient(), twice);
        size_t below = 0;
        double error = 0;
        for (size_t c = 0; c < n; ++c) {
          const size_t now = row.below(candidates[c], below);
          if (c == 0 || now != below)
            error = salient_error + binarization_error(all.first(now), once) + binarization_error(all.subspan(now), once);
          below = now;
          chunk_errors[c] += error;
          chunk_upper[c] += static_cast<int64_t>(all.size() - now);
        }
      }
    }
  }
  SplitTrials out;
  out.errors.assign(n, 0.0);
  out.upper_count.assign(n, 0);
  for (size_t at = 0; at < errors.size(); ++at) {
    out.errors[at % n] += errors[at];
    out.upper_count[at % n] += upper[at];
  }
  for (double& e : out.errors)
    e /= static_cast<double>(std::max<int64_t>(1, x.size()));
  out.best = static_cast<size_t>(std::min_element(out.errors.begin(), out.errors.end()) - out.errors.begin());
  return out;
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
  SplitTrials trials = try_splits(split_matrix(ctx, on, strategy), mask, candidates, centered);
  const float cut = candidates[trials.best];
  if (ctx.trace != nullptr) {
    ctx.trace->scalar(ctx.trace_name("split.value"), cut);
    ctx.trace->scalar(ctx.trace_name("split.index"), static_cast<double>(trials.best));
    const int64_t n = static_cast<int64_t>(candidates.size());
    ctx.trace->array(ctx.trace_name("split.values"), {n}, {candidates.begin(), candidates.end()});
    ctx.trace->array(ctx.trace_name("split.upper_counts"), {n}, {trials.upper_count.begin(), trials.upper_count.end()});
    ctx.trace->array(ctx.trace_name("split.errors"), {n}, std::move(trials.errors));
  }
  return std::make_unique<SplitGroups>(cut, on, strategy);
}

}  // namespace sage::grouping
