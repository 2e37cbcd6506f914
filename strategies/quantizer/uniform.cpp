#include "strategies/quantizer/uniform.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "core/tensor/owned.h"
#include "core/tensor/units.h"
#include "strategies/quantizer/finite.h"
#include "strategies/quantizer/place_plane.h"
#include "strategies/quantizer/stored.h"

namespace sage {
namespace {

constexpr const char* kCodes = "uniform_codes";
constexpr const char* kScales = "uniform_scales";
constexpr const char* kMinima = "uniform_minima";
constexpr const char* kZeros = "uniform_zeros";
constexpr const char* kZeroNumbers = "uniform_zero_numbers";
constexpr float kFar = 0x1p21f;  // beyond every code, within round_even

struct Grid {
  float scale = 0;    // trits: the greatest level
  float zero = 0;     // trits: the least level
  bool used = false;  // owns at least one weight
};

// rint (half to even) of |v| < 2^22 without a library call: adding 1.5 * 2^23 leaves no fraction bits.
inline float round_even(float v) { return (v + 12582912.0f) - 12582912.0f; }

inline float clamp_number(float v, float low, float high) {  // NaN becomes low
  v = v > low ? v : low;
  return v < high ? v : high;
}

struct GridCodec {
  float maxq;
  float code(float x, const Grid& g) const {
    return clamp_number(round_even(clamp_number(x / g.scale, -kFar, kFar)) + g.zero, 0.0f, maxq);
  }
  float value(float q, const Grid& g) const { return g.scale * (q - g.zero); }
};

struct TritCodec {
  float code(float x, const Grid& g) const { return x > g.scale / 2 ? 2.0f : x < g.zero / 2 ? 0.0f : 1.0f; }
  float value(float q, const Grid& g) const { return q > 1 ? g.scale : q < 1 ? g.zero : 0.0f; }
};

float largest_code(const Uniform::Params& p) { return p.trits ? 2.0f : static_cast<float>((1 << p.bits) - 1); }
double nominal_width(const Uniform::Params& p) { return p.trits ? std::log2(3.0) : p.bits; }
int alphabet(const Uniform::Params& p) { return p.trits ? 3 : 1 << p.bits; }
bool stores_zero_codes(const Uniform::Params& p) { return !p.trits && !p.symmetric && p.pb_zero_group == 0; }

// f(codec), with the arithmetic of the option chosen once, outside the loops.
template <class F>
void with_codec(const Uniform::Params& p, F&& f) {
  if (p.trits)
    f(TritCodec{});
  else
    f(GridCodec{largest_code(p)});
}

struct Bounds {
  float lo = 0, hi = 0;
};

// Of a row of weights whose least and greatest are given.
Bounds range_of(float low, float high, bool symmetric) {
  Bounds b{std::min(0.0f, low), std::max(0.0f, high)};
  if (symmetric) {
    b.hi = std::max(std::abs(b.lo), b.hi);
    if (b.lo < 0) b.lo = -b.hi;
  }
  if (b.lo == 0 && b.hi == 0) return {-1, 1};
  return b;
}

float scale_of(Bounds b, const Uniform::Params& p, Numerics numerics) {
  return stored_divisor((b.hi - b.lo) / largest_code(p), numerics);
}

Grid grid_of(Bounds b, const Uniform::Params& p, Numerics numerics) {
  if (p.trits) return {stored_number(b.hi, numerics), stored_number(b.lo, numerics), true};
  const float maxq = largest_code(p), s = scale_of(b, p, numerics);
  return {s, p.symmetric ? (maxq + 1) / 2 : clamp_number(round_even(clamp_number(-b.lo / s, 0.0f, kFar)), 0.0f, maxq), true};
}

// The range among 80 shrunken ones whose grid is nearest to x in the 2.4-norm.
Grid search_grid(std::span<const float> x, Bounds range, const Uniform::Params& p, Numerics numerics) {
  const GridCodec codec{largest_code(p)};
  Grid best = grid_of(range, p, numerics);
  double least = INFINITY;
  for (int i = 0; i < 80; ++i) {
    const float shrink = static_cast<float>(1 - i / 100.0);
    const Grid g = grid_of({shrink * range.lo, shrink * range.hi}, p, numerics);
    double error = 0;
    for (size_t k = 0; k < x.size() && error < least;) {  // terms only add: a range that is beaten already needs no more
      const size_t end = std::min(x.size(), k + 32);
      for (; k < end; ++k)
        error += std::pow(std::abs(codec.value(codec.code(x[k], g), g) - x[k]), 2.4f);
    }
    if (error < least) least = error, best = g;
  }
  return best;
}

// Column groups of a row.
struct Groups {
  int64_t size, per_row, cols;
  Groups(const Uniform::Params& p, int64_t columns)
      : size(p.group_size > 0 ? std::min(p.group_size, std::max<int64_t>(columns, 1)) : std::max<int64_t>(columns, 1)),
        per_row((columns + size - 1) / size),
        cols(columns) {}
  int64_t first(int64_t g) const { return g * size; }
  int64_t last(int64_t g) const { return std::min(cols, (g + 1) * size); }
  GroupMap map(int64_t rows) const {
    GroupMap m = GroupMap::single(rows, cols);
    if (per_row < 2) return m;
    m.shape = LabelShape::kColumn;
    m.groups = per_row;
    for (int64_t j = 0; j < cols; ++j)
      m.label.push_back(static_cast<uint32_t>(j / size));
    return m;
  }
};

class FittedUniform final : public FittedQuantizer {
 public:
  FittedUniform(const Uniform::Params& p, const BlockContext& ctx, const Selection& own)
      : p_(p),
        index_(own),
        groups_(p, own.cols()),
        grids_(static_cast<size_t>(own.rows() * groups_.per_row)),
        histogram_(static_cast<size_t>(alphabet(p))) {
    const int64_t rows = own.rows(), cols = own.cols();
    const float zero_divisor = p_.pb_zero_group > 0 && rows * cols > 0 ? wrong_divisor(ctx) : 0.0f;
    std::vector<double> row_error(static_cast<size_t>(rows));
#pragma omp parallel if (rows * cols > kParallelWeights)
    {
      std::vector<int64_t> histogram(histogram_.size());
      std::vector<float> x;
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows; ++i) {
        double error = 0;
        for (int64_t g = 0; g < groups_.per_row; ++g) {
          bool used = false;
          index_.visit(i, groups_.first(g), groups_.last(g), [&](int64_t, int64_t) { used = true; });
          if (used) error += fit_group(ctx, i, g, zero_divisor, x, histogram);
        }
        row_error[static_cast<size_t>(i)] = error;
      }
#pragma omp critical
      for (size_t s = 0; s < histogram.size(); ++s)
        histogram_[s] += histogram[s];
    }
    for (double e : row_error)
      squared_error_ += e;
    for (const Grid& g : grids_)
      used_ += g.used ? 1 : 0;
    expect_finite(squared_error_, ctx.id, "uniform");
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override {
    const double words = p_.paper_counts_scales ? static_cast<double>(used_ * (p_.trits ? 2 : 1)) : 0.0;
    return {static_cast<double>(index_.total()) * nominal_width(p_), words};
  }
  std::vector<SymbolCount> symbol_counts() const override {
    std::vector<SymbolCount> out{{alphabet(p_), index_.total(), histogram_, Role::kCode}};
    if (stores_zero_codes(p_)) {
      SymbolCount zeros{alphabet(p_), used_, std::vector<int64_t>(histogram_.size()), Role::kOffset};
      for (const Grid& g : grids_)
        if (g.used) ++zeros.histogram[static_cast<size_t>(g.zero)];
      out.push_back(std::move(zeros));
    }
    return out;
  }
  int64_t number_count() const override { return used_ * (p_.trits || p_.pb_zero_group > 0 ? 2 : 1); }

  void start_coding() override { symbols_.resize(static_cast<size_t>(index_.total())); }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
    if (w.cols > 0) with_codec(p_, [&](auto codec) { encode_with(codec, w, first_row, first, out); });
  }

  std::optional<ElementCode> element_code() override {
    column_groups_ = groups_.map(index_.rows());
    units_.emplace("uniform", column_groups_, true, true);
    element_parameters_.clear();
    for (const Grid& g : grids_)
      element_parameters_.insert(element_parameters_.end(), {g.scale, g.zero});
    ElementCode code;
    code.kind = p_.trits ? ElementCode::Kind::kTrits : ElementCode::Kind::kGrid;
    code.largest = largest_code(p_);
    code.own = index_.own();
    code.units = &*units_;
    code.parameters = element_parameters_;
    return code;
  }
  void place_symbols(std::span<const View<const uint8_t>> planes, int64_t first_column) override {
    place_plane(index_, planes[0], first_column, symbols_);
  }

  void emit(PlaneWriter& writer) override {
    if (index_.total() == 0) return;
    std::vector<float> scales, second;
    std::vector<uint8_t> zeros;
    for (const Grid& g : grids_)
      if (g.used) {
        scales.push_back(g.scale);
        if (stores_zero_codes(p_))
          zeros.push_back(static_cast<uint8_t>(static_cast<int>(g.zero)));
        else
          second.push_back(g.zero);
      }
    writer.numbers(kScales, Role::kScale, scales);
    if (p_.trits) writer.numbers(kMinima, Role::kScale, second);
    if (p_.pb_zero_group > 0) writer.numbers(kZeroNumbers, Role::kOffset, second);
    if (stores_zero_codes(p_)) writer.symbols(kZeros, Role::kOffset, alphabet(p_), std::move(zeros));
    writer.symbols(kCodes, Role::kCode, alphabet(p_), std::move(symbols_));
  }

 private:
  template <class Codec>
  void encode_with(Codec codec, WeightView w, int64_t first_row, int64_t first, View<float> out) {
    const int64_t last = first + w.cols;
#pragma omp parallel for schedule(static) if (w.size() > kParallelWeights)
    for (int64_t t = 0; t < w.rows; ++t) {
      const int64_t i = first_row + t;
      for (int64_t g = first / groups_.size; g <= (last - 1) / groups_.size; ++g) {
        const Grid grid = grids_[static_cast<size_t>(i * groups_.per_row + g)];
        index_.visit(i, std::max(first, groups_.first(g)), std::min(last, groups_.last(g)), [&](int64_t j, int64_t k) {
          const float q = codec.code(w(t, j - first), grid);
          symbols_[static_cast<size_t>(k)] = static_cast<uint8_t>(static_cast<int>(q));
          out(t, j - first) = codec.value(q, grid);
        });
      }
    }
  }

  // Chooses the grid of one row and group that owns something; its squared error (not finite if a weight is not).
  double fit_group(const BlockContext& ctx, int64_t i, int64_t g, float zero_divisor, std::vector<float>& x,
                   std::vector<int64_t>& histogram) {
    const int64_t first = groups_.first(g), last = groups_.last(g);
    const float* row = ctx.weights.row(i);
    float low = INFINITY, high = -INFINITY, check = 0;
    const auto look = [&](float v) {
      low = std::min(low, v);
      high = std::max(high, v);
      check += v * 0.0f;  // NaN as soon as one weight is not finite
      if (p_.mse) x.push_back(v);
    };
    x.clear();
    if (p_.range == UniformRange::kAll)
      for (int64_t j = first; j < last; ++j)
        look(row[j]);
    else
      index_.visit(i, first, last, [&](int64_t j, int64_t) { look(row[j]); });
    if (check != 0) return INFINITY;

    const Bounds range = range_of(low, high, p_.symmetric);
    Grid grid = p_.mse ? search_grid(x, range, p_, ctx.numerics) : grid_of(range, p_, ctx.numerics);
    if (p_.pb_zero_group > 0)
      grid.zero = stored_number(std::nearbyint(std::min(-range.lo / zero_divisor, kFar / 2)), ctx.numerics);
    grids_[static_cast<size_t>(i * groups_.per_row + g)] = grid;
    double error = 0;
    with_codec(p_, [&](auto codec) {
      index_.visit(i, first, last, [&](int64_t j, int64_t) {
        const float q = codec.code(row[j], grid);
        const double e = static_cast<double>(row[j]) - codec.value(q, grid);
        error += e * e;
        ++histogram[static_cast<size_t>(q)];
      });
    });
    return error;
  }

  // The scale PB-LLM divides the zero points of this segment by: that of the row whose number is the segment's ordinal.
  float wrong_divisor(const BlockContext& ctx) const {
    const int64_t k = ctx.first_column / p_.pb_zero_group;
    if (k >= index_.rows())
      throw RunError(
          "{}: uniform with pb_zero_group: group {} of {} columns takes its zero points from row {}; expected more than {} "
          "rows; "
          "use larger groups or pb_zero_group: 0",
          ctx.id.name, k, p_.pb_zero_group, k, index_.rows());
    float low = 0, high = 0;
    if (p_.range == UniformRange::kAll)
      for (int64_t j = 0; j < index_.cols(); ++j)
        low = std::min(low, ctx.weights(k, j)), high = std::max(high, ctx.weights(k, j));
    else
      index_.visit(k, 0, index_.cols(), [&](int64_t j, int64_t) {
        low = std::min(low, ctx.weights(k, j)), high = std::max(high, ctx.weights(k, j));
      });
    return scale_of(range_of(low, high, p_.symmetric), p_, ctx.numerics);
  }

  Uniform::Params p_;
  OwnedIndex index_;
  Groups groups_;
  std::vector<Grid> grids_;
  int64_t used_ = 0;
  double squared_error_ = 0;
  std::vector<int64_t> histogram_;
  std::vector<uint8_t> symbols_;
  // Of element_code().
  GroupMap column_groups_;
  std::optional<ScaleUnits> units_;
  std::vector<float> element_parameters_;
};

template <class Codec>
void decode_with(Codec codec, const OwnedIndex& index, const Groups& groups, const std::vector<Grid>& grids,
                 std::span<const uint8_t> codes, View<float> out) {
#pragma omp parallel for schedule(static) if (out.size() > kParallelWeights)
  for (int64_t i = 0; i < index.rows(); ++i)
    for (int64_t g = 0; g < groups.per_row; ++g) {
      const Grid grid = grids[static_cast<size_t>(i * groups.per_row + g)];
      index.visit(i, groups.first(g), groups.last(g), [&](int64_t j, int64_t k) {
        out(i, j) = codec.value(static_cast<float>(codes[static_cast<size_t>(k)]), grid);
      });
    }
}

}  // namespace

Uniform::Uniform(Params p) : p_(p) {
  if (p_.trits && p_.mse)
    throw UserError("uniform: trits with mse; expected at most one of them: there is no grid to search; drop one of the two");
  if (p_.pb_zero_group > 0 && (p_.trits || p_.symmetric || p_.group_size > 0))
    throw UserError(
        "uniform: pb_zero_group with trits, symmetric or group_size; expected asymmetric grids of whole rows of a segment; "
        "drop "
        "the other option");
}

double Uniform::nominal_bits() const { return nominal_width(p_); }

std::unique_ptr<FittedQuantizer> Uniform::fit(const BlockContext& ctx, const Selection& own, const GroupMap&, double) const {
  return std::make_unique<FittedUniform>(p_, ctx, own);
}

void Uniform::decode(PlaneReader& reader, const Selection& own, const GroupMap&, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const Groups groups(p_, index.cols());
  std::vector<Grid> grids(static_cast<size_t>(index.rows() * groups.per_row));
  int64_t used = 0;
  for (int64_t i = 0; i < index.rows(); ++i)
    for (int64_t g = 0; g < groups.per_row; ++g) {
      bool any = own.all();
      if (!any) index.visit(i, groups.first(g), groups.last(g), [&](int64_t, int64_t) { any = true; });
      grids[static_cast<size_t>(i * groups.per_row + g)].used = any;
      used += any ? 1 : 0;
    }
  const std::span<const float> scales = reader.numbers(kScales, used);
  std::span<const float> second;
  if (p_.trits) second = reader.numbers(kMinima, used);
  if (p_.pb_zero_group > 0) second = reader.numbers(kZeroNumbers, used);
  std::span<const uint8_t> zeros;
  if (stores_zero_codes(p_)) zeros = reader.symbols(kZeros, used, alphabet(p_));
  const std::span<const uint8_t> codes = reader.symbols(kCodes, index.total(), alphabet(p_));
  size_t at = 0;
  for (Grid& g : grids)
    if (g.used) {
      g.scale = scales[at];
      g.zero = !zeros.empty()    ? static_cast<float>(zeros[at])
               : !second.empty() ? second[at]
                                 : static_cast<float>(1 << (p_.bits - 1));
      ++at;
    }
  with_codec(p_, [&](auto codec) { decode_with(codec, index, groups, grids, codes, out); });
}

}  // namespace sage
