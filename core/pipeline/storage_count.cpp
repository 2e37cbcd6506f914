#include "core/pipeline/storage_count.h"

#include <algorithm>
#include <cmath>

#include "core/pipeline/group_labels.h"

namespace sage {
namespace {

// A header is JSON: {"p":{"binary_scales":[4,0,576],...},"i":{"groups":[3,3]},"m":2,"a":12}.
constexpr double kHeaderBytes = 24, kHeaderBytesPerPlane = 28, kHeaderBytesPerSegment = 2;

double number_bits(Numerics numerics) { return numerics == Numerics::kPacked ? 16 : 32; }

void merge(SymbolCount& to, const SymbolCount& from) {
  to.role = from.role;
  to.alphabet = std::max(to.count > 0 ? to.alphabet : 2, from.alphabet);
  to.count += from.count;
  to.histogram.resize(std::max(to.histogram.size(), from.histogram.size()));
  for (size_t s = 0; s < from.histogram.size(); ++s) to.histogram[s] += from.histogram[s];
}

SymbolCount scaled(SymbolCount c, double factor) {
  if (factor == 1) return c;
  c.count = std::llround(static_cast<double>(c.count) * factor);
  for (int64_t& n : c.histogram)
    if (n > 0) n = std::max<int64_t>(1, std::llround(static_cast<double>(n) * factor));
  return c;
}

// The planes a fit emits once it has coded the weights it was fitted on.
std::vector<SymbolCount> coded_counts(const BlockContext& ctx, FittedQuantizer& fit) {
  Matrix decoded(ctx.weights.rows, ctx.weights.cols);
  fit.start_coding();
  fit.encode(ctx.weights, 0, 0, decoded.view());
  PlaneWriter writer(ctx.numerics);
  fit.emit(writer);
  std::vector<SymbolCount> out;
  for (const auto& [name, plane] : writer.symbol_planes()) {
    SymbolCount c{plane.alphabet, static_cast<int64_t>(plane.symbols.size()), std::vector<int64_t>(static_cast<size_t>(plane.alphabet)), plane.role};
    for (const uint8_t s : plane.symbols) ++c.histogram[s];
    out.push_back(std::move(c));
  }
  return out;
}

}  // namespace

TransformCost cost_of(const Pipeline& p, const FittedTransform& t, MatrixShape matrix) {
  const double n = static_cast<double>(matrix.size());
  return {static_cast<double>(t.number_count()) * number_bits(p.numerics) / n, p.paper_formula == PaperFormula::kNominal ? 16 * t.paper_scale_words() / n : 0};
}

void StorageCount::add_labels(const BlockContext& ctx, const SaliencyMask& mask, const GroupMap& g) {
  ++segments_;
  if (g.implied || g.groups <= 1) return;
  SymbolCount count{static_cast<int>(g.groups), 0, std::vector<int64_t>(static_cast<size_t>(g.groups), 0), Role::kGroupIndex};
  if (g.shape == LabelShape::kElement) {
    std::vector<Moments> moments(static_cast<size_t>(g.groups));
    ctx.backend.group_moments(ctx.weights, unsalient_of(mask), g, moments);
    for (size_t k = 0; k < moments.size(); ++k) count.histogram[k] = moments[k].count;
    count.count = mask.rows() * mask.cols() - mask.count();
    merge(element_labels_, count);
  } else {
    for (const uint32_t l : g.label) ++count.histogram[l];
    count.count = static_cast<int64_t>(g.label.size());
    labels_by_row_ = g.shape != LabelShape::kColumn;
    merge(other_labels_, count);
  }
}

void StorageCount::add_fit(const BlockContext& ctx, FittedQuantizer& fit, Slot slot) {
  Numbers& numbers = numbers_[static_cast<size_t>(slot)];
  numbers.all += fit.number_count();
  numbers.shared += fit.shared_number_count();
  const PaperCount paper = fit.paper_count();
  weight_bits_ += paper.weight_bits;
  scale_words_ += paper.scale_words;
  shared_scale_words_ += paper.shared_scale_words;
  std::vector<SymbolCount> counts = fit.symbol_counts();
  if (std::any_of(counts.begin(), counts.end(), [&](const SymbolCount& c) {
        return c.count > 0 && c.histogram.empty() && p_.coder(c.role).size_depends_on_symbols();
      }))
    counts = coded_counts(ctx, fit);
  std::map<Role, int> place;
  for (const SymbolCount& c : counts)
    if (const int at = place[c.role]++; c.count > 0) merge(planes_[{slot, {c.role, at}}], c);
}

void StorageCount::add_mask(const SaliencyMask& mask) {
  if (mask.shape() == MaskShape::kColumns) column_mask_bits_ += p_.salient_index_coder->position_bits(mask.bits());
  if (mask.shape() == MaskShape::kElements) row_mask_bits_ += p_.salient_index_coder->position_bits(mask.bits());
}

void StorageCount::add_column_ids(const std::vector<ColumnSet>& segments) {
  if (segments.size() < 2) return;
  column_ids_ = {static_cast<int>(segments.size()), 0, {}, Role::kGroupIndex};
  for (const ColumnSet& s : segments) {
    column_ids_.histogram.push_back(s.size());
    column_ids_.count += s.size();
  }
}

double StorageCount::stored_bits(MatrixShape matrix, int64_t rows, int64_t cols) const {
  const double factor = static_cast<double>(matrix.rows) / static_cast<double>(rows);
  double planes = 0, bits = column_mask_bits_ + row_mask_bits_ * factor;
  for (const auto& [key, plane] : planes_) {
    bits += p_.coder(plane.role).symbol_bits(scaled(plane, factor));
    ++planes;
  }
  for (const SymbolCount* labels : {&element_labels_, &other_labels_, &column_ids_})
    if (labels->count > 0) {
      const bool grows = labels == &element_labels_ || (labels == &other_labels_ && labels_by_row_);
      bits += p_.coder(Role::kGroupIndex).symbol_bits(scaled(*labels, grows ? factor : 1));
      ++planes;
    }
  for (const Numbers& n : numbers_) {
    bits += number_bits(p_.numerics) * (static_cast<double>(n.all - n.shared) * factor + static_cast<double>(n.shared));
    planes += (n.all > n.shared ? 1 : 0) + (n.shared > 0 ? 1 : 0);
  }
  if (column_mask_bits_ + row_mask_bits_ > 0) ++planes;
  const double header = 8 * (kHeaderBytes + kHeaderBytesPerPlane * planes + kHeaderBytesPerSegment * static_cast<double>(segments_));
  const double share = static_cast<double>(cols) / static_cast<double>(matrix.cols);
  return bits / static_cast<double>(matrix.rows * cols) + header * share / static_cast<double>(matrix.rows * cols);
}

double StorageCount::paper_bits(MatrixShape matrix, int64_t rows, int64_t cols) const {
  const double n = static_cast<double>(rows * cols);
  const double words = scale_words_ - shared_scale_words_ + shared_scale_words_ * static_cast<double>(rows) / static_cast<double>(matrix.rows);
  return (weight_bits_ + (p_.paper_formula == PaperFormula::kNominal ? 16 * words : 0)) / n;
}

}  // namespace sage
