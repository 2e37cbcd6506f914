#include "core/pipeline/block_planner.h"

#include <algorithm>

#include "core/backend/memory.h"
#include "core/pipeline/group_labels.h"

namespace sage {

TrialResult BlockPlanner::trial(const SaliencyMask& mask, const GroupMap& groups, double threshold) const {
  StorageCount count(p_);
  double error = 0;
  const auto add = [&](const std::unique_ptr<FittedQuantizer>& fit, StorageCount::Slot slot) {
    error += fit->squared_error();
    count.add_fit(ctx_, *fit, slot);
  };
  count.add_labels(ctx_, mask, groups);
  add(p_.quantizer->fit(ctx_, unsalient_of(mask), groups, threshold), StorageCount::Slot::kUnsalient);
  if (mask.shape() != MaskShape::kNone)
    add(p_.salient_quantizer->fit(ctx_, salient_of(mask), GroupMap::single(mask.rows(), mask.cols()), threshold), StorageCount::Slot::kSalient);
  count.add_mask(mask);
  if (!energy_) energy_ = ctx_.backend.matrix_stats(ctx_.weights).moments.sq_sum;
  TrialResult r;
  r.relative_error = *energy_ > 0 ? error / *energy_ : 0;
  r.stored_bits = count.stored_bits(matrix_, ctx_.weights.rows, ctx_.weights.cols) + transform_.stored_bits;
  r.paper_bits = count.paper_bits(matrix_, ctx_.weights.rows, ctx_.weights.cols) + transform_.paper_bits;
  return r;
}

GroupMap BlockPlanner::group(const SaliencyMask& mask, const SaliencyScores* scores) const {
  BlockContext ctx = ctx_;
  if (scores != nullptr) ctx.saliency_target = scores->target();
  return p_.grouping->prepare(ctx, mask, std::nullopt)->assign(ctx, mask);
}

SegmentPlan BlockPlanner::plan() const {
  const std::optional<Matrix> sample = p_.threshold->needs_trials() && !p_.saliency->never_selects() ? trial_sample(ctx_.weights, p_.trial_weights) : std::nullopt;
  if (!sample) return search(0).plan;
  BlockContext few = ctx_;
  few.weights = sample->view();
  const HeldMemory held = hold(ctx_.backend, few.weights);
  const BlockPlanner on_sample(p_, few, matrix_, transform_);
  const std::optional<double> budget = p_.threshold->most_stored_bits();
  constexpr int kSearches = 4;
  double extra = 0;
  for (int k = 1;; ++k) {
    const Found found = on_sample.search(extra);
    SegmentPlan out = plan_at_ratio(found.plan.mask.ratio());
    if (!budget || k == kSearches) return out;
    const double bits = trial(out.mask, out.groups, out.threshold).stored_bits;
    if (bits <= *budget) return out;
    extra += bits - found.stored_bits;
  }
}

BlockPlanner::Found BlockPlanner::search(double extra_bits) const {
  Found found;
  SegmentPlan& out = found.plan;
  const int64_t rows = ctx_.weights.rows, cols = ctx_.weights.cols;
  std::unique_ptr<SaliencyScores> scores;
  if (p_.saliency->never_selects()) {
    out.mask = SaliencyMask::none(rows, cols);
  } else {
    scores = p_.saliency->score(ctx_);
    BlockContext ctx = ctx_;
    ctx.saliency_target = scores->target();
    std::optional<int64_t> fixed_groups;
    SearchProblem problem;
    problem.weights = rows * cols;
    problem.context = &ctx;
    problem.scores = scores.get();
    problem.paper_weight_bits = [this](double r) { return (1 - r) * p_.quantizer->nominal_bits() + r * p_.salient_quantizer->nominal_bits(); };
    problem.trial = [&](const Cut& cut) {
      const SaliencyMask mask = scores->select(cut);
      if (!fixed_groups) {
        const SaliencyMask lowest = scores->select({Cut::Unit::kRatio, p_.threshold->lowest_ratio()});
        fixed_groups = p_.grouping->prepare(ctx, lowest, std::nullopt)->groups();
      }
      const GroupMap groups = p_.grouping->prepare(ctx, mask, fixed_groups)->assign(ctx, mask);
      TrialResult r = trial(mask, groups, scores->threshold(cut));
      r.stored_bits += extra_bits;
      return r;
    };
    const SearchOutcome outcome = p_.threshold->search(problem);
    out.mask = scores->select(outcome.cut);
    out.threshold = scores->threshold(outcome.cut);
    for (const SearchOutcome::Point& pt : outcome.path)
      if (pt.cut.value == outcome.cut.value) found.stored_bits = pt.result.stored_bits;
    report(outcome);
  }
  if (out.mask.count() == 0) out.mask = SaliencyMask::none(rows, cols);  // an empty index would be paid for nothing
  out.groups = group(out.mask, scores.get());
  return found;
}

SegmentPlan BlockPlanner::plan_at_ratio(double ratio) const {
  SegmentPlan out;
  out.mask = SaliencyMask::none(ctx_.weights.rows, ctx_.weights.cols);
  std::unique_ptr<SaliencyScores> scores;
  if (ratio > 0) {
    scores = p_.saliency->score(ctx_);
    const Cut cut{Cut::Unit::kRatio, ratio};
    SaliencyMask mask = scores->select(cut);
    if (mask.count() > 0) out.mask = std::move(mask);
    out.threshold = scores->threshold(cut);
  }
  out.groups = group(out.mask, scores.get());
  return out;
}

void BlockPlanner::report(const SearchOutcome& outcome) const {
  ctx_.trace->scalar(ctx_.trace_name("threshold.cut"), outcome.cut.value);
  ctx_.trace->scalar(ctx_.trace_name("threshold.evaluations"), static_cast<double>(outcome.path.size()));
  if (!ctx_.trace->enabled() || outcome.path.empty()) return;
  std::vector<double> rows;
  for (const SearchOutcome::Point& pt : outcome.path)
    rows.insert(rows.end(), {pt.cut.value, pt.result.relative_error, pt.result.paper_bits, pt.result.stored_bits, pt.objective});
  ctx_.trace->array(ctx_.trace_name("threshold.path"), {static_cast<int64_t>(outcome.path.size()), 5}, std::move(rows));
}

std::vector<int64_t> trial_rows(int64_t rows, int64_t cols, int64_t weights) {
  const int64_t n = weights <= 0 ? rows : std::clamp<int64_t>((weights + cols - 1) / std::max<int64_t>(cols, 1), 1, rows);
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = (2 * i + 1) * rows / (2 * n);
  return out;
}

std::optional<Matrix> trial_sample(WeightView w, int64_t weights) {
  const std::vector<int64_t> rows = trial_rows(w.rows, w.cols, weights);
  if (static_cast<int64_t>(rows.size()) >= w.rows) return std::nullopt;
  Matrix m(static_cast<int64_t>(rows.size()), w.cols);
  for (int64_t i = 0; i < m.rows(); ++i) std::copy_n(w.row(rows[static_cast<size_t>(i)]), w.cols, m.row(i));
  return m;
}

}  // namespace sage
