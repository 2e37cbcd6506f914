#include "strategies/quantizer/multibit.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/tensor/owned.h"
#include "core/tensor/units.h"
#include "strategies/quantizer/finite.h"
#include "strategies/quantizer/place_plane.h"
#include "strategies/quantizer/stored.h"

namespace sage {
namespace {

constexpr const char* kCodes = "multibit_codes";
constexpr const char* kScales = "multibit_scales";
constexpr const char* kOffset = "multibit_offset";
constexpr int kAlternations = 8;
constexpr std::array<double, 3> kStarts{1.0, 0.8, 0.6};

// The magnitude code of x on the grid with step s. s = 0 has one level only.
inline int nearest_code(double x, double s, bool midrise, double top) {
  if (!(s > 0)) return 0;
  double y = x / s;
  y = y > 0 ? y : 0;  // false for NaN, so that the conversion below is always defined
  y = y < top ? y : top;
  return static_cast<int>(midrise ? y : y + 0.5);
}

// |what| of every code, as the decoder computes it.
std::array<float, 128> magnitudes(float s, float offset, MultibitGrid grid, int levels) {
  std::array<float, 128> m{};
  for (int j = 0; j < levels; ++j) {
    const float q = static_cast<float>(j);
    m[static_cast<size_t>(j)] = grid == MultibitGrid::kMidrise    ? s * (q + 0.5f)
                                : grid == MultibitGrid::kMidtread ? s * q
                                                                  : offset + s * q;
  }
  return m;
}

double squared_error(std::span<const double> x, double s, bool midrise, double top) {
  const double half = midrise ? 0.5 : 0.0;
  double sum = 0;
  for (double v : x) {
    const double e = v - s * (nearest_code(v, s, midrise, top) + half);
    sum += e * e;
  }
  return sum;
}

class FittedMultibit final : public FittedQuantizer {
 public:
  FittedMultibit(const Multibit::Params& p, const BlockContext& ctx, const Selection& own, double threshold)
      : p_(p),
        levels_(1 << (p.bits - 1)),
        index_(own),
        units_("multibit", GroupMap::single(own.rows(), own.cols()), true, false),
        steps_(static_cast<size_t>(own.rows())) {
    if (p_.grid == MultibitGrid::kOffset) offset_ = stored_number(threshold, ctx.numerics);
    const bool midrise = p_.grid == MultibitGrid::kMidrise;
    const int64_t rows = own.rows();
    std::vector<double> row_error(static_cast<size_t>(rows));
    histogram_.assign(static_cast<size_t>(2 * levels_), 0);
#pragma omp parallel if (rows * own.cols() > kParallelWeights)
    {
      std::vector<double> x;
      std::vector<uint8_t> negative;
      std::vector<int64_t> histogram(histogram_.size());
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows; ++i) {
        x.clear();
        negative.clear();
        index_.visit(i, 0, index_.cols(), [&](int64_t j, int64_t) {
          const float w = ctx.weights(i, j);
          x.push_back(std::abs(static_cast<double>(w)) - offset_);
          negative.push_back(w < 0 ? 1 : 0);
        });
        const StepFit f = fit_step(x, p_.grid, levels_, ctx.numerics);
        steps_[static_cast<size_t>(i)] = f.step;
        row_error[static_cast<size_t>(i)] = f.squared_error;
        for (size_t t = 0; t < x.size(); ++t)
          ++histogram[static_cast<size_t>(negative[t] * levels_ + nearest_code(x[t], f.step, midrise, levels_ - 1))];
      }
#pragma omp critical
      for (size_t s = 0; s < histogram.size(); ++s)
        histogram_[s] += histogram[s];
    }
    for (double e : row_error)
      squared_error_ += e;
    expect_finite(squared_error_, ctx.id, "multibit");
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override {
    const double n = static_cast<double>(index_.total());
    return {n * p_.bits, n > 0 ? static_cast<double>(index_.rows()) : 0.0};
  }
  std::vector<SymbolCount> symbol_counts() const override { return {{2 * levels_, index_.total(), histogram_, Role::kCode}}; }
  int64_t number_count() const override {
    const int64_t rows = index_.rows_with_weights();
    return rows + shared_number_count();
  }
  int64_t shared_number_count() const override { return index_.total() > 0 && p_.grid == MultibitGrid::kOffset ? 1 : 0; }

  void start_coding() override { symbols_.resize(static_cast<size_t>(index_.total())); }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
    const bool midrise = p_.grid == MultibitGrid::kMidrise;
#pragma omp parallel for schedule(static) if (w.size() > kParallelWeights)
    for (int64_t t = 0; t < w.rows; ++t) {
      const int64_t i = first_row + t;
      const float s = steps_[static_cast<size_t>(i)];
      const std::array<float, 128> level = magnitudes(s, offset_, p_.grid, levels_);
      index_.visit(i, first, first + w.cols, [&](int64_t j, int64_t k) {
        const float v = w(t, j - first);
        const bool negative = v < 0;
        const int code = nearest_code(std::abs(static_cast<double>(v)) - offset_, s, midrise, levels_ - 1);
        symbols_[static_cast<size_t>(k)] = static_cast<uint8_t>((negative ? levels_ : 0) + code);
        out(t, j - first) = with_sign(level[static_cast<size_t>(code)], negative);
      });
    }
  }

  std::optional<ElementCode> element_code() override {
    ElementCode code;
    code.kind = ElementCode::Kind::kSteps;
    code.midrise = p_.grid == MultibitGrid::kMidrise;
    code.shifted = p_.grid == MultibitGrid::kOffset;
    code.largest = static_cast<float>(levels_ - 1);
    code.offset = offset_;
    code.own = index_.own();
    code.units = &units_;
    code.parameters = steps_;
    return code;
  }
  void place_symbols(std::span<const View<const uint8_t>> planes, int64_t first_column) override {
    place_plane(index_, planes[0], first_column, symbols_);
  }

  void emit(PlaneWriter& writer) override {
    if (index_.total() == 0) return;
    std::vector<float> scales;
    for (int64_t i = 0; i < index_.rows(); ++i)
      if (index_.row_count(i) > 0) scales.push_back(steps_[static_cast<size_t>(i)]);
    writer.numbers(kScales, Role::kScale, scales);
    if (p_.grid == MultibitGrid::kOffset) writer.numbers(kOffset, Role::kOffset, std::span<const float>(&offset_, 1));
    writer.symbols(kCodes, Role::kCode, 2 * levels_, std::move(symbols_));
  }

 private:
  Multibit::Params p_;
  int levels_;
  OwnedIndex index_;
  ScaleUnits units_;          // the rows
  std::vector<float> steps_;  // one per row, 0 where nothing is owned
  float offset_ = 0;
  double squared_error_ = 0;
  std::vector<int64_t> histogram_;
  std::vector<uint8_t> symbols_;
};

}  // namespace

StepFit fit_step(std::span<const double> x, MultibitGrid grid, int levels, Numerics numerics,
                 std::vector<std::vector<double>>* paths) {
  StepFit best;
  if (x.empty()) return best;
  const bool midrise = grid == MultibitGrid::kMidrise;
  const double half = midrise ? 0.5 : 0.0, top = levels - 1;
  const double largest = std::max(*std::max_element(x.begin(), x.end()), 0.0);
  const double q_max = midrise ? levels - 0.5 : std::max(levels - 1, 1);
  bool first = true;
  for (double c : kStarts) {
    double s = c * largest / q_max;
    if (paths != nullptr) paths->push_back({squared_error(x, s, midrise, top)});
    for (int t = 0; t < kAlternations; ++t) {
      double qq = 0, qx = 0;
      for (double v : x) {
        const double q = nearest_code(v, s, midrise, top) + half;
        qq += q * q;
        qx += q * v;
      }
      if (!(qq > 0)) break;
      const double next = std::max(qx / qq, 0.0);
      if (next == s) break;
      s = next;
      if (paths != nullptr) paths->back().push_back(squared_error(x, s, midrise, top));
    }
    const float stored = stored_number(s, numerics);
    const double error = squared_error(x, stored, midrise, top);
    if (first || error < best.squared_error || std::isnan(error)) best = {stored, error};
    first = false;
  }
  return best;
}

std::unique_ptr<FittedQuantizer> Multibit::fit(const BlockContext& ctx, const Selection& own, const GroupMap&,
                                               double threshold) const {
  return std::make_unique<FittedMultibit>(p_, ctx, own, threshold);
}

void Multibit::decode(PlaneReader& reader, const Selection& own, const GroupMap&, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const int levels = 1 << (p_.bits - 1);
  const std::span<const float> scales = reader.numbers(kScales, index.rows_with_weights());
  const float offset = p_.grid == MultibitGrid::kOffset ? reader.numbers(kOffset, 1)[0] : 0.0f;
  const std::span<const uint8_t> codes = reader.symbols(kCodes, index.total(), 2 * levels);
  std::vector<float> steps(static_cast<size_t>(index.rows()));
  size_t at = 0;
  for (int64_t i = 0; i < index.rows(); ++i)
    if (index.row_count(i) > 0) steps[static_cast<size_t>(i)] = scales[at++];
#pragma omp parallel for schedule(static) if (out.size() > kParallelWeights)
  for (int64_t i = 0; i < index.rows(); ++i) {
    if (index.row_count(i) == 0) continue;
    const std::array<float, 128> level = magnitudes(steps[static_cast<size_t>(i)], offset, p_.grid, levels);
    index.visit(i, 0, index.cols(), [&](int64_t j, int64_t k) {
      const int symbol = codes[static_cast<size_t>(k)];
      out(i, j) = with_sign(level[static_cast<size_t>(symbol & (levels - 1))], symbol >= levels);
    });
  }
}

}  // namespace sage
