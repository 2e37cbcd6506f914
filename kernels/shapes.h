// Shape checks shared by all backends, so that every device refuses the same calls with the same words.
// A violation is a fault of the caller inside this program, never of user input: Error with kInternalError.
#pragma once

#include <bit>
#include <cstdint>
#include <span>

#include "core/backend/backend.h"
#include "core/backend/block_coder.h"
#include "core/util/errors.h"

namespace sage::shapes {

inline void require(bool ok, const char* operation, const char* rule) {
  if (!ok) throw Error(ExitCode::kInternalError, fmt::format("{}: wrong arguments; expected {}", operation, rule));
}
template <class A, class B>
bool same(const View<A>& a, const View<B>& b) {
  return a.rows == b.rows && a.cols == b.cols;
}

inline void order_statistic(WeightView w, int64_t k) {
  require(k >= 0 && k < w.size(), "deviation_order_statistic", "0 <= k < number of weights");
}
inline void sq_sums(int64_t expected, std::span<double> out, const char* operation) {
  require(static_cast<int64_t>(out.size()) == expected, operation, "one output per row (column) of the matrix");
}
inline void selection(WeightView w, const Selection& own, const char* operation) {
  require(own.mask != nullptr && own.rows() == w.rows && own.cols() == w.cols, operation, "a selection of the matrix's shape");
}
inline void histogram(WeightView w, const Selection& own, int shift) {
  selection(w, own, "magnitude_histogram");
  require(shift >= 8 && shift <= 23, "magnitude_histogram", "8 <= shift <= 23 (a bin must not span two exponents)");
}
inline void cuts(std::span<const float> c) {
  require(c.size() <= 255, "assign_by_magnitude", "at most 255 cuts");
  for (size_t i = 1; i < c.size(); ++i)
    require(c[i - 1] <= c[i], "assign_by_magnitude", "ascending cuts");
}
// Labels of single weights are checked by the backends, in the pass that reads them anyway.
constexpr const char* kLabelRule = "labels below the number of groups";
inline void group_map(WeightView w, const GroupMap& g, const char* operation) {
  require(g.rows == w.rows && g.cols == w.cols, operation, "a group map of the matrix's shape");
  const auto labels = static_cast<int64_t>(g.label.size());
  switch (g.shape) {
    case LabelShape::kSingle: break;
    case LabelShape::kRow: require(labels == w.rows, operation, "one label per row"); break;
    case LabelShape::kColumn: require(labels == w.cols, operation, "one label per column"); break;
    case LabelShape::kRowBlock:
      require(g.block > 0 && labels == w.rows * g.blocks_per_row(), operation, "one label per row and block");
      break;
    case LabelShape::kElement:
      require(g.groups <= 256 && static_cast<int64_t>(g.element.size()) == w.size(), operation,
              "one byte label per weight and at most 256 groups");
      break;
  }
  uint32_t largest = 0;
  for (uint32_t l : g.label)
    largest = largest < l ? l : largest;
  require(int64_t{largest} < g.groups, operation, kLabelRule);
}
inline void group_moments(WeightView w, const Selection& own, const GroupMap& g, std::span<Moments> out) {
  selection(w, own, "group_moments");
  require(static_cast<int64_t>(out.size()) == g.groups && g.groups >= 1, "group_moments", "one output per group");
  group_map(w, g, "group_moments");
}
// `outputs`: of the operation, one per unit.
inline void units(WeightView w, const ScaleUnits& u, size_t outputs, const char* operation) {
  if (u.map() != nullptr) group_map(w, *u.map(), operation);
  require(u.count() == (u.by_row() ? w.rows : 1) * u.per_row(), operation, "units of the matrix's rows");
  require(static_cast<int64_t>(outputs) == u.count(), operation, "one output per unit");
}
inline void unit_moments(WeightView w, const Selection& own, const ScaleUnits& u, std::span<const float> center,
                         std::span<Moments> out) {
  selection(w, own, "unit_moments");
  units(w, u, out.size(), "unit_moments");
  require(center.empty() || center.size() == out.size(), "unit_moments", "no centers or one per unit");
}
inline void residual_binarize(WeightView w, const Selection& own, const ScaleUnits& u, const ResidualRule& rule,
                              std::span<ResidualLevels> levels) {
  selection(w, own, "residual_binarize");
  require(u.by_row(), "residual_binarize", "units by row");
  require(rule.order >= 1 && rule.order <= ResidualRule::kMostOrders, "residual_binarize", "1 to 4 orders");
  units(w, u, levels.size(), "residual_binarize");
}
inline void split_errors(WeightView x, const SplitTrials& t, std::span<double> errors, std::span<int64_t> upper_count) {
  constexpr const char* kName = "split_errors";
  require(errors.size() == t.cuts.size() && upper_count.size() == t.cuts.size(), kName, "one error and one count per cut");
  for (size_t c = 0; c < t.cuts.size(); ++c)
    require(t.cuts[c > 0 ? c - 1 : 0] <= t.cuts[c], kName, "ascending cuts");  // which no NaN is
  require(t.column_keys.empty() || static_cast<int64_t>(t.column_keys.size()) == x.cols, kName, "no keys or one per column");
  for (float key : t.column_keys)
    require(key == key, kName, "column keys that are not NaN");
  require(t.apart == nullptr || (t.apart->rows() == x.rows && t.apart->cols() == x.cols), kName,
          "a mask of the matrix's shape");
  require(t.order == 1 || t.order == 2, kName, "order 1 or 2");
}
inline void hadamard(View<float> w) {
  require(w.cols > 0 && std::has_single_bit(static_cast<uint64_t>(w.cols)), "hadamard_rows", "a power of two of columns");
}
inline void linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) {
  require(x.cols == w.cols && y.rows == x.rows && y.cols == w.rows, "linear", "x[T x n], w[m x n], y[T x m]");
  require(bias.empty() || static_cast<int64_t>(bias.size()) == w.rows, "linear", "an empty bias or one value per output");
}
inline void norm(WeightView x, std::span<const float> gamma, View<float> y, const char* operation) {
  require(same(x, y) && static_cast<int64_t>(gamma.size()) == x.cols, operation,
          "y like x and one gain (and shift) per column");
}
inline void rotary(View<float> x, int heads, const RotaryTable& t) {
  require(heads > 0 && t.head_dim > 0 && t.head_dim % 2 == 0 && x.cols == int64_t{heads} * t.head_dim &&
              static_cast<int>(t.inv_freq.size()) * 2 == t.head_dim,
          "rotary", "x[T x heads*head_dim], an even head_dim and head_dim/2 frequencies");
}
inline void attention(WeightView q, WeightView k, WeightView v, const AttentionShape& s, View<float> out) {
  require(s.heads > 0 && s.kv_heads > 0 && s.head_dim > 0 && s.heads % s.kv_heads == 0 && s.window >= 0, "attention",
          "positive head counts, heads a multiple of kv_heads");
  require(q.cols == int64_t{s.heads} * s.head_dim && same(q, out) && k.cols == int64_t{s.kv_heads} * s.head_dim && same(k, v) &&
              k.rows == q.rows,
          "attention", "q, out[T x heads*head_dim] and k, v[T x kv_heads*head_dim]");
}
// The planes of symbols of a block.
inline int64_t code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols,
                          View<float> error) {
  constexpr const char* kOperation = "code_block";
  const int64_t k = w.cols;
  require(static_cast<int64_t>(block.columns.size()) == k && k <= BlockCoder::kMostColumns, kOperation,
          "one entry per column, and at most 1024 columns");
  int64_t planes = 1;
  for (const ElementCode& code : block.codes) {
    require(code.planes >= 1 && code.planes <= ElementCode::kMostPlanes, kOperation, "codes of 1 to 4 planes");
    planes = code.planes > planes ? code.planes : planes;
    require(code.own.mask != nullptr && code.own.rows() == w.rows && code.units != nullptr &&
                static_cast<int64_t>(code.parameters.size()) == code.units->count() * code.parameters_per_unit(),
            kOperation, "codes with a selection of as many rows, and parameters for every unit");
  }
  for (const auto& slots : block.columns)
    for (const CodedColumn& slot : slots)
      require(slot.code < static_cast<int>(block.codes.size()) &&
                  (slot.code < 0 || (slot.column >= 0 && slot.column < block.codes[static_cast<size_t>(slot.code)].own.cols())),
              kOperation, "columns of the codes that are given");
  require(same(w, decoded) && symbols.rows == w.rows && symbols.cols == planes * k, kOperation,
          "decoded values like the weights, and a byte per weight and plane");
  const bool corrected = block.correction != Correction::kNone;
  require(!corrected || (same(w, error) && block.u.rows == k && block.u.cols == k), kOperation,
          "an error like the weights and the factor of the block");
  return planes;
}
inline void outer(std::span<const float> u, std::span<const float> e, View<float> x) {
  require(static_cast<int64_t>(u.size()) == x.rows && static_cast<int64_t>(e.size()) == x.cols, "subtract_outer",
          "u[n], e[m] and x[n x m]");
}
inline void product(WeightView a, WeightView b, View<float> x) {
  require(a.rows == x.rows && a.cols == b.rows && b.cols == x.cols, "subtract_product", "a[n x k], b[k x m] and x[n x m]");
}
template <class T>
void gram_update(WeightView x, const View<T>& gram) {
  require(gram.rows == x.cols && gram.cols == x.cols, "gram_update", "x[T x n] and gram[n x n]");
}
inline void head(WeightView hidden, WeightView head, int64_t outputs, const char* operation) {
  require(hidden.cols == head.cols && head.rows > 0 && outputs == hidden.rows, operation,
          "hidden[T x d], head[vocabulary x d] and one output per position");
}
inline void targets(std::span<const int32_t> target, int64_t positions, int64_t vocabulary) {
  require(static_cast<int64_t>(target.size()) == positions, "head_nll", "one target per position");
  for (int32_t t : target)
    require(t < vocabulary, "head_nll", "targets inside the vocabulary");
}

inline void divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView own_head, std::span<double> kl,
                       std::span<uint8_t> agree, std::span<const int32_t> target, std::span<double> nll) {
  head(hidden_ref, head_ref, static_cast<int64_t>(kl.size()), "head_divergence");
  head(hidden, own_head, static_cast<int64_t>(agree.size()), "head_divergence");
  require(hidden_ref.rows == hidden.rows && head_ref.rows == own_head.rows, "head_divergence",
          "as many positions and tokens on both sides");
  if (target.empty()) return;
  targets(target, hidden.rows, own_head.rows);
  head(hidden, own_head, static_cast<int64_t>(nll.size()), "head_divergence");
}

}  // namespace sage::shapes
