#include "strategies/quantizer/binary.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "core/tensor/owned.h"
#include "core/tensor/units.h"
#include "strategies/quantizer/finite.h"
#include "strategies/quantizer/place_plane.h"
#include "strategies/quantizer/stored.h"

namespace sage {
namespace {

constexpr const char* kSigns = "signs";
constexpr const char* kScales = "binary_scales";
constexpr const char* kShifts = "binary_shifts";

// Parameters as stored. Units: levels of unit u. rank1: rows, cols.
struct BinaryParameters {
  std::vector<float> scale;   // units, or rows (rank1)
  std::vector<float> shift;   // units; empty without mean_shift
  std::vector<float> column;  // rank1: columns
};

ScaleUnits units_of(const Binary::Params& p, const GroupMap& groups) {
  return ScaleUnits("binary", groups, p.scale == BinaryScale::kRow || p.scale == BinaryScale::kRowGroup,
                    p.scale == BinaryScale::kGroup || p.scale == BinaryScale::kRowGroup);
}

// Reductions over rows run in this many chunks whatever the number of threads, so that sums do not depend on it. Fewer when the
// accumulators of a chunk are large.
int64_t chunk_count(int64_t rows, int64_t bytes_per_chunk) {
  return std::clamp<int64_t>((int64_t{64} << 20) / std::max<int64_t>(bytes_per_chunk, 1), 1,
                             std::clamp<int64_t>(rows / 8, 1, 32));
}

// alpha_i beta_j by alternating least squares on |w|. Returns the squared error with the stored parameters.
double fit_rank1(WeightView w, const OwnedIndex& index, int passes, Numerics numerics, BinaryParameters& out) {
  const int64_t rows = w.rows, cols = w.cols;
  const size_t m = static_cast<size_t>(rows), n = static_cast<size_t>(cols);
  std::vector<double> alpha(m, 1.0), beta(n, 1.0), row_error(m);
  const int64_t chunks = chunk_count(rows, cols * 16);
  std::vector<std::vector<double>> num(static_cast<size_t>(chunks)), den(static_cast<size_t>(chunks));
  // One sweep: alpha from beta (unless fixed), then the column sums that give the next beta.
  const auto sweep = [&](bool fit_alpha) {
#pragma omp parallel for schedule(dynamic) if (w.size() > kParallelWeights)
    for (int64_t c = 0; c < chunks; ++c) {
      std::vector<double>& cn = num[static_cast<size_t>(c)];
      std::vector<double>& cd = den[static_cast<size_t>(c)];
      cn.assign(n, 0.0);
      cd.assign(n, 0.0);
      for (int64_t i = rows * c / chunks; i < rows * (c + 1) / chunks; ++i) {
        if (fit_alpha) {
          double qx = 0, qq = 0;
          index.visit(i, 0, cols, [&](int64_t j, int64_t) {
            const double b = beta[static_cast<size_t>(j)];
            qx += b * std::abs(w(i, j));
            qq += b * b;
          });
          alpha[static_cast<size_t>(i)] = qq > 0 ? qx / qq : 0;
        }
        const double a = alpha[static_cast<size_t>(i)];
        index.visit(i, 0, cols, [&](int64_t j, int64_t) {
          cn[static_cast<size_t>(j)] += a * std::abs(w(i, j));
          cd[static_cast<size_t>(j)] += a * a;
        });
      }
    }
    double square = 0;
    for (size_t j = 0; j < n; ++j) {
      double a = 0, b = 0;
      for (size_t c = 0; c < num.size(); ++c)
        a += num[c][j], b += den[c][j];
      beta[j] = b > 0 ? a / b : 0;
      square += beta[j] * beta[j];
    }
    const double rms = std::sqrt(square / static_cast<double>(std::max<size_t>(n, 1)));
    if (rms > 0)
      for (double& b : beta)
        b /= rms;
  };
  sweep(false);  // beta = column means
  for (int t = 0; t < passes; ++t)
    sweep(true);
  out.column.resize(n);
  for (size_t j = 0; j < n; ++j)
    out.column[j] = stored_number(beta[j], numerics);
  out.scale.assign(m, 0.0f);
#pragma omp parallel for schedule(static) if (w.size() > kParallelWeights)
  for (int64_t i = 0; i < rows; ++i) {
    double qx = 0, qq = 0, xx = 0;
    index.visit(i, 0, cols, [&](int64_t j, int64_t) {
      const double b = out.column[static_cast<size_t>(j)], x = std::abs(w(i, j));
      qx += b * x;
      qq += b * b;
      xx += x * x;
    });
    const float a = stored_number(qq > 0 ? qx / qq : 0.0, numerics);
    out.scale[static_cast<size_t>(i)] = a;
    row_error[static_cast<size_t>(i)] = xx - 2.0 * a * qx + static_cast<double>(a) * a * qq;
  }
  double sum = 0;
  for (double e : row_error)
    sum += e;
  return sum;
}

class FittedBinary final : public FittedQuantizer {
 public:
  FittedBinary(const Binary::Params& p, const BlockContext& ctx, const Selection& own, const GroupMap& groups)
      : p_(p), index_(own), units_(units_of(p, groups)) {
    if (index_.total() == 0) return;
    if (p_.scale == BinaryScale::kRank1) {
      squared_error_ = fit_rank1(ctx.weights, index_, p_.passes, ctx.numerics, parameters_);
    } else {
      fit_units(ctx, own, groups);
    }
    expect_finite(squared_error_, ctx.id, "binary");
    squared_error_ = std::max(squared_error_, 0.0);
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override {
    if (index_.total() == 0) return {};
    const double words = p_.scale == BinaryScale::kRank1 ? static_cast<double>(index_.rows() + index_.cols())
                                                         : static_cast<double>(units_.count());
    const double shared = p_.scale == BinaryScale::kRank1 ? static_cast<double>(index_.cols()) : units_.by_row() ? 0.0 : words;
    const int per_unit = p_.mean_shift ? 2 : 1;
    return {static_cast<double>(index_.total()), words * per_unit, shared * per_unit};
  }
  std::vector<SymbolCount> symbol_counts() const override { return {{2, index_.total(), {}, Role::kSign}}; }
  int64_t number_count() const override {
    if (index_.total() == 0) return 0;
    if (p_.scale == BinaryScale::kRank1) return index_.rows_with_weights() + index_.cols();
    return (units_.by_row() ? index_.rows_with_weights() * units_.per_row() : units_.count()) * (p_.mean_shift ? 2 : 1);
  }
  int64_t shared_number_count() const override {
    if (index_.total() == 0) return 0;
    if (p_.scale == BinaryScale::kRank1) return index_.cols();
    return units_.by_row() ? 0 : units_.count() * (p_.mean_shift ? 2 : 1);
  }

  void start_coding() override { symbols_.resize(static_cast<size_t>(index_.total())); }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
    if (index_.total() == 0) return;
    const int64_t last = first + w.cols;
    const bool rank1 = p_.scale == BinaryScale::kRank1, shifted = p_.mean_shift;
    const std::vector<float>& scale = parameters_.scale;
    const std::vector<float>& shift = parameters_.shift;
    uint8_t* symbols = symbols_.data();
#pragma omp parallel if (w.size() > kParallelWeights)
    {
      std::vector<uint32_t> unit(static_cast<size_t>(last - first));
#pragma omp for schedule(static)
      for (int64_t t = 0; t < w.rows; ++t) {
        const int64_t i = first_row + t;
        const float* row = w.row(t) - first;
        float* to = out.row(t) - first;
        if (rank1) {
          const float a = scale[static_cast<size_t>(i)];
          index_.visit(i, first, last, [&](int64_t j, int64_t k) {
            const bool negative = row[j] < 0;
            const float v = a * parameters_.column[static_cast<size_t>(j)];
            symbols[k] = static_cast<uint8_t>(negative);
            to[j] = with_sign(v, negative);
          });
          continue;
        }
        units_.fill(i, first, last, unit.data());
        if (shifted) {
          index_.visit(i, first, last, [&](int64_t j, int64_t k) {
            const uint32_t u = unit[static_cast<size_t>(j - first)];
            const bool negative = row[j] < shift[u];
            symbols[k] = static_cast<uint8_t>(negative);
            to[j] = shift[u] + with_sign(scale[u], negative);
          });
        } else {
          index_.visit(i, first, last, [&](int64_t j, int64_t k) {
            const float v = scale[unit[static_cast<size_t>(j - first)]];
            const bool negative = row[j] < 0;
            symbols[k] = static_cast<uint8_t>(negative);
            to[j] = with_sign(v, negative);
          });
        }
      }
    }
  }

  std::optional<ElementCode> element_code() override {
    if (p_.scale == BinaryScale::kRank1) return std::nullopt;
    element_parameters_.clear();
    for (size_t u = 0; u < parameters_.scale.size(); ++u) {
      const float shift = p_.mean_shift ? parameters_.shift[u] : 0.0f;
      element_parameters_.insert(element_parameters_.end(), {parameters_.scale[u], shift, shift});
    }
    element_parameters_.resize(static_cast<size_t>(units_.count()) * 3);  // nothing was fitted where nothing is owned
    ElementCode code;
    code.plain = !p_.mean_shift;
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
    write_units(writer, kScales, Role::kScale, parameters_.scale, p_.scale == BinaryScale::kRank1 ? 1 : units_.per_row());
    if (p_.scale == BinaryScale::kRank1) writer.numbers(kScales, Role::kScale, parameters_.column);
    if (p_.mean_shift) write_units(writer, kShifts, Role::kOffset, parameters_.shift, units_.per_row());
    writer.symbols(kSigns, Role::kSign, 2, std::move(symbols_));
  }

 private:
  void fit_units(const BlockContext& ctx, const Selection& own, const GroupMap& groups) {
    const size_t n = static_cast<size_t>(units_.count());
    std::vector<Moments> moments(n);
    if (p_.mean_shift) {
      ctx.backend.unit_moments(ctx.weights, own, units_, {}, moments);
      parameters_.shift.resize(n);
      for (size_t u = 0; u < n; ++u)
        parameters_.shift[u] =
            stored_number(moments[u].count > 0 ? moments[u].sum / static_cast<double>(moments[u].count) : 0.0, ctx.numerics);
      ctx.backend.unit_moments(ctx.weights, own, units_, parameters_.shift, moments);
    } else if (!units_.by_row()) {
      ctx.backend.group_moments(ctx.weights, own, groups, moments);
    } else {
      ctx.backend.unit_moments(ctx.weights, own, units_, {}, moments);
    }
    parameters_.scale.resize(n);
    for (size_t u = 0; u < n; ++u) {
      const Moments& m = moments[u];
      const float a = stored_number(m.count > 0 ? m.abs_sum / static_cast<double>(m.count) : 0.0, ctx.numerics);
      parameters_.scale[u] = a;
      squared_error_ += m.sq_sum - 2.0 * a * m.abs_sum + static_cast<double>(m.count) * a * a;
    }
  }

  // Values of rows that own weights only, `width` to a row; all of them when units are not tied to rows.
  void write_units(PlaneWriter& writer, const char* name, Role role, const std::vector<float>& values, int64_t width) const {
    if (!units_.by_row() && p_.scale != BinaryScale::kRank1) {
      writer.numbers(name, role, values);
      return;
    }
    std::vector<float> kept;
    for (int64_t i = 0; i < index_.rows(); ++i)
      if (index_.row_count(i) > 0) kept.insert(kept.end(), values.begin() + i * width, values.begin() + (i + 1) * width);
    writer.numbers(name, role, kept);
  }

  Binary::Params p_;
  OwnedIndex index_;
  ScaleUnits units_;
  BinaryParameters parameters_;
  double squared_error_ = 0;
  std::vector<uint8_t> symbols_;
  std::vector<float> element_parameters_;  // of element_code()
};

// The inverse of write_units.
std::vector<float> read_units(PlaneReader& reader, const char* name, const OwnedIndex& index, bool by_row, int64_t width) {
  const std::span<const float> stored = reader.numbers(name, by_row ? index.rows_with_weights() * width : width);
  if (!by_row) return {stored.begin(), stored.end()};
  std::vector<float> out(static_cast<size_t>(index.rows() * width));
  int64_t at = 0;
  for (int64_t i = 0; i < index.rows(); ++i)
    if (index.row_count(i) > 0) {
      std::copy_n(stored.begin() + at, width, out.begin() + i * width);
      at += width;
    }
  return out;
}

}  // namespace

Binary::Binary(Params p) : p_(p) {
  if (p_.mean_shift && p_.scale == BinaryScale::kRank1)
    throw UserError(
        "binary: mean_shift: true with scale: rank1; expected mean_shift with scale group, row or row_group; drop one of the "
        "two");
}

std::unique_ptr<FittedQuantizer> Binary::fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                             double) const {
  return std::make_unique<FittedBinary>(p_, ctx, own, groups);
}

void Binary::decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const bool rank1 = p_.scale == BinaryScale::kRank1;
  const ScaleUnits units = units_of(p_, groups);
  const bool by_row = rank1 || units.by_row();
  const std::vector<float> scale = read_units(reader, kScales, index, by_row,
                                              rank1            ? 1
                                              : units.by_row() ? units.per_row()
                                                               : units.count());
  const std::span<const float> column = rank1 ? reader.numbers(kScales, index.cols()) : std::span<const float>();
  const std::vector<float> shift =
      p_.mean_shift ? read_units(reader, kShifts, index, by_row, units.by_row() ? units.per_row() : units.count())
                    : std::vector<float>();
  const std::span<const uint8_t> signs = reader.symbols(kSigns, index.total(), 2);
#pragma omp parallel if (out.size() > kParallelWeights)
  {
    std::vector<uint32_t> unit(static_cast<size_t>(index.cols()));
#pragma omp for schedule(static)
    for (int64_t i = 0; i < index.rows(); ++i) {
      float* to = out.row(i);
      if (rank1) {
        const float a = scale[static_cast<size_t>(i)];
        index.visit(i, 0, index.cols(), [&](int64_t j, int64_t k) {
          to[j] = with_sign(a * column[static_cast<size_t>(j)], signs[static_cast<size_t>(k)] != 0);
        });
        continue;
      }
      units.fill(i, 0, index.cols(), unit.data());
      index.visit(i, 0, index.cols(), [&](int64_t j, int64_t k) {
        const size_t u = unit[static_cast<size_t>(j)];
        const float v = with_sign(scale[u], signs[static_cast<size_t>(k)] != 0);
        to[j] = shift.empty() ? v : shift[u] + v;
      });
    }
  }
}

}  // namespace sage
