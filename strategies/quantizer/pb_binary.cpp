#include "strategies/quantizer/pb_binary.h"

#include <cmath>

#include "core/tensor/owned.h"
#include "core/tensor/units.h"
#include "strategies/quantizer/finite.h"
#include "strategies/quantizer/place_plane.h"
#include "strategies/quantizer/stored.h"
#include "strategies/quantizer/ternary_sign.h"

namespace sage {
namespace {

constexpr const char* kSigns = "pb_signs";
constexpr const char* kScales = "pb_scales";
constexpr const char* kMeans = "pb_means";

struct Levels {
  float scale = 0, mean = 0;
};

bool three_symbols(const PbBinary::Params& p) { return p.keep_zero && p.method == PbMethod::kXnor; }

inline float value_of(uint8_t symbol, const Levels& l, PbMethod method) {
  if (method == PbMethod::kSign) return symbol == 0 ? l.scale : 0.0f;
  return signed_value(l.scale, symbol) + l.mean;
}

class FittedPb final : public FittedQuantizer {
 public:
  FittedPb(const PbBinary::Params& p, const BlockContext& ctx, const Selection& own)
      : p_(p),
        index_(own),
        levels_(static_cast<size_t>(own.rows())),
        units_("pb_binary", GroupMap::single(own.rows(), own.cols()), true, false) {
    const int64_t rows = index_.rows();
    std::vector<double> row_error(static_cast<size_t>(rows));
#pragma omp parallel for schedule(static) if (ctx.weights.size() > kParallelWeights)
    for (int64_t i = 0; i < rows; ++i)
      if (index_.row_count(i) > 0) row_error[static_cast<size_t>(i)] = fit_row(ctx, i);
    for (double e : row_error)
      squared_error_ += e;
    expect_finite(squared_error_, ctx.id, "pb_binary");
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override { return {static_cast<double>(index_.total()), 0}; }
  std::vector<SymbolCount> symbol_counts() const override { return {{sign_alphabet(three_symbols(p_)), index_.total(), {}, Role::kSign}}; }
  int64_t number_count() const override { return index_.rows_with_weights() * (p_.method == PbMethod::kXnor ? 2 : 1); }

  void start_coding() override { symbols_.resize(static_cast<size_t>(index_.total())); }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
#pragma omp parallel for schedule(static) if (w.size() > kParallelWeights)
    for (int64_t t = 0; t < w.rows; ++t) {
      const Levels l = levels_[static_cast<size_t>(first_row + t)];
      index_.visit(first_row + t, first, first + w.cols, [&](int64_t j, int64_t k) {
        const uint8_t s = code(w(t, j - first), l);
        symbols_[static_cast<size_t>(k)] = s;
        out(t, j - first) = value_of(s, l, p_.method);
      });
    }
  }

  std::optional<ElementCode> element_code() override {
    const bool xnor = p_.method == PbMethod::kXnor;
    element_parameters_.clear();
    for (const Levels& l : levels_) {
      element_parameters_.push_back(l.scale);
      if (xnor) element_parameters_.insert(element_parameters_.end(), {l.mean, l.mean});
    }
    ElementCode code;
    code.kind = xnor ? ElementCode::Kind::kSigns : ElementCode::Kind::kPositive;
    code.keep_zero = p_.keep_zero;
    code.own = index_.own();
    code.units = &units_;
    code.parameters = element_parameters_;
    return code;
  }
  void place_symbols(std::span<const View<const uint8_t>> planes, int64_t first_column) override {
    place_plane(index_, planes[0], first_column, symbols_);
  }

  void emit(PlaneWriter& writer) override {
    if (index_.total() == 0) return;
    std::vector<float> scales, means;
    for (int64_t i = 0; i < index_.rows(); ++i)
      if (index_.row_count(i) > 0) {
        scales.push_back(levels_[static_cast<size_t>(i)].scale);
        means.push_back(levels_[static_cast<size_t>(i)].mean);
      }
    writer.numbers(kScales, Role::kScale, scales);
    if (p_.method == PbMethod::kXnor) writer.numbers(kMeans, Role::kOffset, means);
    writer.symbols(kSigns, Role::kSign, sign_alphabet(three_symbols(p_)), std::move(symbols_));
  }

 private:
  uint8_t code(float w, const Levels& l) const {
    if (p_.method == PbMethod::kSign) return w > 0 ? uint8_t{0} : uint8_t{1};
    return sign_symbol(w - l.mean, p_.keep_zero);
  }

  // The squared error of row i.
  double fit_row(const BlockContext& ctx, int64_t i) {
    const float* w = ctx.weights.row(i);
    const int64_t owned = index_.row_count(i), others = p_.divisor == PbDivisor::kAll ? index_.cols() - owned : 0;
    const auto mean_of = [&](double zeroed, auto value) {  // `zeroed`: the value of a position that is not owned
      double sum = static_cast<double>(others) * zeroed;
      index_.visit(i, 0, index_.cols(), [&](int64_t j, int64_t) { sum += value(w[j]); });
      return stored_number(sum / static_cast<double>(owned + others), ctx.numerics);
    };
    Levels& l = levels_[static_cast<size_t>(i)];
    if (p_.method == PbMethod::kXnor) {
      l.mean = mean_of(0, [](float v) { return v; });
      l.scale = mean_of(std::abs(l.mean), [&](float v) { return std::abs(v - l.mean); });
    } else {
      l.scale = mean_of(0, [](float v) { return v > 0 ? v : v * 0.0f; });  // NaN stays NaN
    }
    double error = 0;
    index_.visit(i, 0, index_.cols(), [&](int64_t j, int64_t) {
      const double e = static_cast<double>(w[j]) - value_of(code(w[j], l), l, p_.method);
      error += e * e;
    });
    return error;
  }

  PbBinary::Params p_;
  OwnedIndex index_;
  std::vector<Levels> levels_;
  double squared_error_ = 0;
  std::vector<uint8_t> symbols_;
  ScaleUnits units_;                       // the rows
  std::vector<float> element_parameters_;  // of element_code()
};

}  // namespace

std::unique_ptr<FittedQuantizer> PbBinary::fit(const BlockContext& ctx, const Selection& own, const GroupMap&, double) const {
  return std::make_unique<FittedPb>(p_, ctx, own);
}

void PbBinary::decode(PlaneReader& reader, const Selection& own, const GroupMap&, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const int64_t rows = index.rows_with_weights();
  const bool xnor = p_.method == PbMethod::kXnor;
  const std::span<const float> scales = reader.numbers(kScales, rows);
  const std::span<const float> means = xnor ? reader.numbers(kMeans, rows) : std::span<const float>();
  const std::span<const uint8_t> signs = reader.symbols(kSigns, index.total(), sign_alphabet(three_symbols(p_)));
  std::vector<Levels> levels(static_cast<size_t>(index.rows()));
  size_t at = 0;
  for (int64_t i = 0; i < index.rows(); ++i)
    if (index.row_count(i) > 0) {
      levels[static_cast<size_t>(i)] = {scales[at], xnor ? means[at] : 0.0f};
      ++at;
    }
#pragma omp parallel for schedule(static) if (out.size() > kParallelWeights)
  for (int64_t i = 0; i < index.rows(); ++i)
    index.visit(i, 0, index.cols(), [&](int64_t j, int64_t k) {
      out(i, j) = value_of(signs[static_cast<size_t>(k)], levels[static_cast<size_t>(i)], p_.method);
    });
}

}  // namespace sage
