#include "core/pipeline/segment_fitter.h"

#include <algorithm>

#include "core/pipeline/group_labels.h"
#include "core/pipeline/plane_store.h"

namespace sage {
namespace {

double factor_of(const std::vector<double>& factors, int64_t k) { return factors.empty() ? 1.0 : factors[static_cast<size_t>(k)]; }

// sum_ij rows_i columns_j (w_ij - v_ij)^2 over the columns of a set; v = 0 where it is empty.
double weighted_error(WeightView w, WeightView v, const ColumnSet& set, const ErrorFactors& f) {
  double sum = 0;
  for (int64_t i = 0; i < w.rows; ++i) {
    double row = 0;
    for (int64_t k = 0; k < w.cols; ++k) {
      const double e = static_cast<double>(w(i, k)) - (v.size() > 0 ? v(i, k) : 0.0f);
      row += factor_of(f.columns, set[k]) * e * e;
    }
    sum += factor_of(f.rows, i) * row;
  }
  return sum;
}

}  // namespace

SegmentFitter::SegmentFitter(const Pipeline& p, const BlockContext& rows, MatrixShape matrix, TransformCost transform, const MatrixCalibration& calibration,
                             SegmentLayout layout, SegmentWeights weights)
    : p_(p), rows_(rows), matrix_(matrix), transform_(transform), calibration_(calibration), layout_(std::move(layout)), weights_(std::move(weights)) {
  plans_.resize(layout_.unsalient.size());
  for (const ColumnSet& s : layout_.unsalient) unsalient_.push_back({s, nullptr});
  if (p_.saliency->never_selects()) return;
  for (const ColumnSet& s : layout_.salient) salient_.push_back({s, nullptr});
  salient_masks_.assign(salient_.size(), SaliencyMask::none(0, 0));
}

void SegmentFitter::open(Open& s, const ColumnSet& set, Scope::Weights when) const {
  s.diagonal = set.gather(calibration_.diagonal());
  s.inverse_diagonal = set.gather(calibration_.inverse_diagonal());
  s.ctx.emplace(rows_);
  s.ctx->weights = weights_(set, when, s.storage, s.held);
  s.ctx->first_column = set.first();
  s.ctx->factor_diagonal = s.diagonal;
  s.ctx->inverse_diagonal = s.inverse_diagonal;
}

void SegmentFitter::fit_unsalient(size_t index) {
  Open s;
  open(s, layout_.unsalient[index], p_.scope.weights);
  SegmentPlan& plan = plans_[index];
  plan = BlockPlanner(p_, *s.ctx, matrix_, transform_).plan();
  trace_segment(plan, layout_.unsalient[index]);
  unsalient_[index].fit = p_.quantizer->fit(*s.ctx, unsalient_of(plan.mask), plan.groups, plan.threshold);
  place_mask(plan.mask, layout_.unsalient[index]);
}

// The score at the cut of the segment it lies in; of the first one that selects where it spans several.
double SegmentFitter::salient_threshold(size_t index) const {
  if (layout_.scattered) return plans_[index].threshold;  // the two slots have the same segments
  for (size_t k = 0; k < plans_.size(); ++k) {
    const ColumnSet& set = layout_.unsalient[k];
    if (set.first() + set.size() > layout_.salient[index].first() && plans_[k].threshold != 0) return plans_[k].threshold;
  }
  return 0;
}

void SegmentFitter::fit_salient(size_t index) {
  const ColumnSet& set = layout_.salient[index];
  SaliencyMask& own = salient_masks_[index];
  own = set.gather(mask());
  if (own.count() == 0) {
    own = SaliencyMask::none(rows_.weights.rows, set.size());
    return;
  }
  Open s;
  open(s, set, p_.salient_scope.weights);
  salient_[index].fit = p_.salient_quantizer->fit(*s.ctx, salient_of(own), GroupMap::single(own.rows(), own.cols()), salient_threshold(index));
}

void SegmentFitter::fit_all() {
  for (size_t k = 0; k < unsalient_.size(); ++k) fit_unsalient(k);
  for (size_t k = 0; k < salient_.size(); ++k) fit_salient(k);
}

TrialResult SegmentFitter::outcome(const ErrorFactors* factors) {
  StorageCount count(p_);
  const auto energy_of = [&](WeightView w, const ColumnSet& set) {
    return factors == nullptr ? rows_.backend.matrix_stats(w).moments.sq_sum : weighted_error(w, {}, set, *factors);
  };
  const double energy = energy_of(rows_.weights, ColumnSet::range(0, matrix_.cols));
  double error = 0, seen = 0;
  const auto add = [&](CodedSegment& segment, const BlockContext& ctx, StorageCount::Slot slot) {
    count.add_fit(ctx, *segment.fit, slot);
    if (factors == nullptr) {
      error += segment.fit->squared_error();
      return;
    }
    Matrix decoded = Matrix::copy(ctx.weights);  // what the fit does not own has no error
    segment.fit->start_coding();
    segment.fit->encode(ctx.weights, 0, 0, decoded.view());
    error += weighted_error(ctx.weights, decoded.view(), segment.columns, *factors);
  };
  for (size_t k = 0; k < unsalient_.size(); ++k) {
    Open s;
    open(s, unsalient_[k].columns, p_.scope.weights);
    seen += energy_of(s.ctx->weights, unsalient_[k].columns);
    count.add_labels(*s.ctx, plans_[k].mask, plans_[k].groups);
    add(unsalient_[k], *s.ctx, StorageCount::Slot::kUnsalient);
  }
  for (CodedSegment& segment : salient_) {
    if (!segment.fit) continue;
    Open s;
    open(s, segment.columns, p_.salient_scope.weights);
    add(segment, *s.ctx, StorageCount::Slot::kSalient);
  }
  count.add_mask(mask());
  if (layout_.scattered) count.add_column_ids(layout_.unsalient);
  if (p_.zero_dead_columns && !calibration_.dead().empty()) error += std::max(0.0, energy - seen);  // fits saw the zeros
  TrialResult r;
  r.relative_error = energy > 0 ? error / energy : 0;
  r.stored_bits = count.stored_bits(matrix_, rows_.weights.rows, matrix_.cols) + transform_.stored_bits;
  r.paper_bits = count.paper_bits(matrix_, rows_.weights.rows, matrix_.cols) + transform_.paper_bits;
  return r;
}

void SegmentFitter::place_mask(const SaliencyMask& mask, const ColumnSet& set) {
  if (mask.shape() == MaskShape::kNone) return;
  shape_ = mask.shape();
  if (whole_.rows() == 0) whole_ = BitMask(shape_ == MaskShape::kElements ? rows_.weights.rows : 1, matrix_.cols);
  set.place(mask.bits(), whole_);
}

SaliencyMask SegmentFitter::mask() const {
  if (shape_ == MaskShape::kNone) return SaliencyMask::none(rows_.weights.rows, matrix_.cols);
  return shape_ == MaskShape::kElements ? SaliencyMask::elements(whole_) : SaliencyMask::columns(rows_.weights.rows, whole_);
}

int64_t SegmentFitter::groups() const {
  int64_t most = 0;
  for (const SegmentPlan& plan : plans_) most = std::max(most, plan.groups.groups);
  return most;
}

PaperCount SegmentFitter::emit(PlaneWriter& writer) {
  PaperCount paper;
  const auto emit_fit = [&](FittedQuantizer& fit) {
    fit.emit(writer);
    paper.weight_bits += fit.paper_count().weight_bits;
    paper.scale_words += fit.paper_count().scale_words;
  };
  emit_layout(layout_, matrix_.cols, writer);
  for (size_t k = 0; k < unsalient_.size(); ++k) {
    const GroupMap& groups = plans_[k].groups;
    writer.integer("groups", groups.groups);
    if (!groups.implied && groups.groups > 1)
      writer.symbols("group_index", Role::kGroupIndex, static_cast<int>(groups.groups), label_symbols(groups, unsalient_of(plans_[k].mask)));
    emit_fit(*unsalient_[k].fit);
  }
  writer.set_prefix(kSalientPlanePrefix);
  for (CodedSegment& s : salient_)
    if (s.fit) emit_fit(*s.fit);
  writer.set_prefix("");
  return paper;
}

void SegmentFitter::trace_segment(const SegmentPlan& plan, const ColumnSet& set) const {
  Trace& trace = *rows_.trace;
  if (!trace.enabled()) return;
  const SaliencyMask& mask = plan.mask;
  const std::string suffix = set.first() == 0 ? "" : fmt::format("@{}", set.first());
  std::vector<double> bits(static_cast<size_t>(mask.rows() * mask.cols())), labels(bits.size());
  for (int64_t i = 0; i < mask.rows(); ++i)
    for (int64_t j = 0; j < mask.cols(); ++j) {
      bits[static_cast<size_t>(i * mask.cols() + j)] = mask.test(i, j) ? 1 : 0;
      labels[static_cast<size_t>(i * mask.cols() + j)] = plan.groups.at(i, j);
    }
  trace.array("mask" + suffix, {mask.rows(), mask.cols()}, std::move(bits));
  trace.array("labels" + suffix, {mask.rows(), mask.cols()}, std::move(labels));
}

}  // namespace sage
