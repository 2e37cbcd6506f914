#include "core/pipeline/block_planner.h"

#include <algorithm>

namespace sage {
namespace {

// Bits the group ids of a block will take, without coding them.
double label_bits(const Pipeline& p, const BlockContext& ctx, const SaliencyMask& mask, const GroupMap& g) {
  if (g.implied || g.groups <= 1) return 0;
  SymbolCount count{static_cast<int>(g.groups), 0, std::vector<int64_t>(static_cast<size_t>(g.groups), 0)};
  if (g.shape == LabelShape::kElement) {
    std::vector<Moments> moments(static_cast<size_t>(g.groups));
    ctx.backend.group_moments(ctx.weights, unsalient_of(mask), g, moments);
    for (size_t k = 0; k < moments.size(); ++k) count.histogram[k] = moments[k].count;
    count.count = mask.rows() * mask.cols() - mask.count();
  } else {
    for (uint32_t l : g.label) ++count.histogram[l];
    count.count = static_cast<int64_t>(g.label.size());
  }
  return p.group_index_coder->symbol_bits(count);
}

}  // namespace

BlockPlanner::BlockPlanner(const Pipeline& pipeline, const BlockContext& ctx, int64_t matrix_rows, double transform_bits_per_weight)
    : p_(pipeline), ctx_(ctx), matrix_rows_(matrix_rows), transform_bits_(transform_bits_per_weight) {}

TrialResult BlockPlanner::trial(const SaliencyMask& mask, const GroupMap& groups, double threshold) const {
  const std::unique_ptr<FittedQuantizer> unsalient = p_.quantizer->fit(ctx_, unsalient_of(mask), groups, threshold);
  std::unique_ptr<FittedQuantizer> salient;
  if (mask.shape() != MaskShape::kNone)
    salient = p_.salient_quantizer->fit(ctx_, salient_of(mask), GroupMap::single(mask.rows(), mask.cols()), threshold);
  const double n = static_cast<double>(ctx_.weights.size());
  double error = unsalient->squared_error(), bits = label_bits(p_, ctx_, mask, groups), weight_bits = 0, scale_words = 0;
  for (const FittedQuantizer* q : {unsalient.get(), salient.get()}) {
    if (q == nullptr) continue;
    if (q == salient.get()) error += q->squared_error();
    for (const SymbolCount& c : q->symbol_counts()) bits += c.alphabet == 2 ? p_.sign_coder->symbol_bits(c) : p_.code_coder->symbol_bits(c);
    bits += static_cast<double>(q->number_count()) * (p_.numerics == Numerics::kPacked ? 16 : 32);
    weight_bits += q->paper_count().weight_bits;
    scale_words += q->paper_count().scale_words;
  }
  // Column flags are stored once for all rows of the matrix; a trial that looks at a share of the rows pays that share.
  if (mask.shape() == MaskShape::kColumns)
    bits += p_.salient_index_coder->position_bits(mask.bits()) * static_cast<double>(mask.rows()) / static_cast<double>(matrix_rows_);
  else if (mask.shape() == MaskShape::kElements)
    bits += p_.salient_index_coder->position_bits(mask.bits());
  TrialResult r;
  if (!energy_) energy_ = ctx_.backend.matrix_stats(ctx_.weights).moments.sq_sum;
  r.relative_error = *energy_ > 0 ? error / *energy_ : 0;
  r.stored_bits = bits / n + transform_bits_;
  r.paper_bits = (weight_bits + (p_.paper_formula == PaperFormula::kNominal ? 16 * scale_words : 0)) / n;
  return r;
}

GroupMap BlockPlanner::group(const SaliencyMask& mask, const SaliencyScores* scores) const {
  BlockContext ctx = ctx_;
  if (scores != nullptr) ctx.saliency_target = scores->target();
  return p_.grouping->prepare(ctx, mask, std::nullopt)->assign(ctx, mask);
}

SegmentPlan BlockPlanner::plan(bool want_objective) const {
  SegmentPlan out;
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
      return trial(mask, groups, scores->threshold(cut));
    };
    const SearchOutcome outcome = p_.threshold->search(problem);
    out.mask = scores->select(outcome.cut);
    out.threshold = scores->threshold(outcome.cut);
    out.objective = outcome.objective;
    report(outcome);
  }
  if (out.mask.count() == 0) out.mask = SaliencyMask::none(rows, cols);  // an empty index would be paid for nothing
  out.groups = group(out.mask, scores.get());
  if (want_objective) out.objective = p_.threshold->objective(trial(out.mask, out.groups, out.threshold));
  return out;
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

std::optional<Matrix> trial_sample(WeightView w, int64_t weights) {
  const int64_t rows = weights <= 0 ? w.rows : std::clamp<int64_t>((weights + w.cols - 1) / std::max<int64_t>(w.cols, 1), 1, w.rows);
  if (rows >= w.rows) return std::nullopt;
  Matrix m(rows, w.cols);
  for (int64_t i = 0; i < rows; ++i) std::copy_n(w.row((2 * i + 1) * w.rows / (2 * rows)), w.cols, m.row(i));
  return m;
}

}  // namespace sage
