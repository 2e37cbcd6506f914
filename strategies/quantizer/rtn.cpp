#include "strategies/quantizer/rtn.h"

#include <algorithm>
#include <cmath>

#include "strategies/quantizer/owned.h"
#include "strategies/quantizer/stored.h"

namespace sage {
namespace {

constexpr const char* kCodes = "rtn_codes";
constexpr const char* kScales = "rtn_scales";
constexpr const char* kZeros = "rtn_zeros";

struct Grid {
  float scale = 0;
  float zero = 0;
  bool used = false;  // owns at least one weight
};

// rint (half to even) of |v| < 2^22 without a library call: adding 1.5 * 2^23 leaves no fraction bits.
inline float round_even(float v) { return (v + 12582912.0f) - 12582912.0f; }

inline float clamp_number(float v, float low, float high) {  // NaN becomes low
  v = v > low ? v : low;
  return v < high ? v : high;
}

inline float code_of(float x, const Grid& g, float maxq) {
  constexpr float kFar = 0x1p21f;  // beyond every code, within round_even
  return clamp_number(round_even(clamp_number(x / g.scale, -kFar, kFar)) + g.zero, 0.0f, maxq);
}
inline float value_of(float q, const Grid& g) { return g.scale * (q - g.zero); }

Grid min_max_grid(float low, float high, const Rtn::Params& p, Numerics numerics) {
  const float maxq = static_cast<float>((1 << p.bits) - 1);
  float lo = std::min(0.0f, low), hi = std::max(0.0f, high);
  if (p.symmetric) {
    hi = std::max(std::abs(lo), hi);
    if (lo < 0) lo = -hi;
  }
  if (lo == 0 && hi == 0) lo = -1, hi = 1;
  const float s = stored_divisor((hi - lo) / maxq, numerics);
  const float z = p.symmetric ? (maxq + 1) / 2 : clamp_number(round_even(clamp_number(-lo / s, 0.0f, 0x1p21f)), 0.0f, maxq);
  return {s, z, true};
}

// Column groups of a row.
struct Groups {
  int64_t size, per_row;
  Groups(const Rtn::Params& p, int64_t cols)
      : size(p.group_size > 0 ? std::min(p.group_size, std::max<int64_t>(cols, 1)) : std::max<int64_t>(cols, 1)),
        per_row((cols + size - 1) / size) {}
};

class FittedRtn final : public FittedQuantizer {
 public:
  FittedRtn(const Rtn::Params& p, const BlockContext& ctx, const Selection& own)
      : p_(p),
        maxq_(static_cast<float>((1 << p.bits) - 1)),
        index_(own),
        groups_(p, own.cols()),
        grids_(static_cast<size_t>(own.rows() * groups_.per_row)),
        histogram_(size_t{1} << p.bits) {
    const int64_t rows = own.rows(), cols = own.cols();
    const WeightView w = ctx.weights;
    std::vector<double> row_error(static_cast<size_t>(rows));
#pragma omp parallel if (rows * cols > kParallelWeights)
    {
      std::vector<int64_t> histogram(histogram_.size());
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows; ++i) {
        double error = 0;
        for (int64_t g = 0; g < groups_.per_row; ++g) {
          const int64_t first = g * groups_.size, last = std::min(cols, first + groups_.size);
          float low = 0, high = 0, check = 0;
          int64_t count = 0;
          index_.visit(i, first, last, [&](int64_t j, int64_t) {
            const float x = w(i, j);
            low = std::min(low, x);
            high = std::max(high, x);
            check += x * 0.0f;  // NaN as soon as one weight is not finite
            ++count;
          });
          if (count == 0) continue;
          error += check;
          const Grid grid = grids_[static_cast<size_t>(i * groups_.per_row + g)] = min_max_grid(low, high, p_, ctx.numerics);
          index_.visit(i, first, last, [&](int64_t j, int64_t) {
            const float x = w(i, j), q = code_of(x, grid, maxq_);
            const double e = static_cast<double>(x) - value_of(q, grid);
            error += e * e;
            ++histogram[static_cast<size_t>(q)];
          });
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
    if (!std::isfinite(squared_error_))
      throw RunError("{}: rtn met weights that are not finite; expected finite weights; check the checkpoint it came from",
                     ctx.id.name);
  }

  double squared_error() const override { return squared_error_; }
  PaperCount paper_count() const override {
    return {static_cast<double>(index_.total()) * p_.bits, p_.paper_counts_scales ? static_cast<double>(used_) : 0.0};
  }
  std::vector<SymbolCount> symbol_counts() const override {
    std::vector<SymbolCount> out{{1 << p_.bits, index_.total(), histogram_}};
    if (!p_.symmetric) {
      SymbolCount zeros{1 << p_.bits, used_, std::vector<int64_t>(size_t{1} << p_.bits)};
      for (const Grid& g : grids_)
        if (g.used) ++zeros.histogram[static_cast<size_t>(g.zero)];
      out.push_back(std::move(zeros));
    }
    return out;
  }
  int64_t number_count() const override { return used_; }

  void start_coding() override { symbols_.resize(static_cast<size_t>(index_.total())); }
  void encode(WeightView w, int64_t first_row, int64_t first, View<float> out) override {
    const int64_t last = first + w.cols;
    if (first >= last) return;
#pragma omp parallel for schedule(static) if (w.size() > kParallelWeights)
    for (int64_t t = 0; t < w.rows; ++t) {
      const int64_t i = first_row + t;
      for (int64_t g = first / groups_.size; g <= (last - 1) / groups_.size; ++g) {
        const Grid grid = grids_[static_cast<size_t>(i * groups_.per_row + g)];
        index_.visit(i, std::max(first, g * groups_.size), std::min(last, (g + 1) * groups_.size), [&](int64_t j, int64_t k) {
          const float q = code_of(w(t, j - first), grid, maxq_);
          symbols_[static_cast<size_t>(k)] = static_cast<uint8_t>(static_cast<int>(q));
          out(t, j - first) = value_of(q, grid);
        });
      }
    }
  }

  void emit(PlaneWriter& writer) override {
    if (index_.total() == 0) return;
    std::vector<float> scales;
    std::vector<uint8_t> zeros;
    for (const Grid& g : grids_)
      if (g.used) {
        scales.push_back(g.scale);
        zeros.push_back(static_cast<uint8_t>(static_cast<int>(g.zero)));
      }
    writer.numbers(kScales, Role::kScale, scales);
    if (!p_.symmetric) writer.symbols(kZeros, Role::kOffset, 1 << p_.bits, std::move(zeros));
    writer.symbols(kCodes, Role::kCode, 1 << p_.bits, std::move(symbols_));
  }

 private:
  Rtn::Params p_;
  float maxq_;
  OwnedIndex index_;
  Groups groups_;
  std::vector<Grid> grids_;
  int64_t used_ = 0;
  double squared_error_ = 0;
  std::vector<int64_t> histogram_;
  std::vector<uint8_t> symbols_;
};

}  // namespace

std::unique_ptr<FittedQuantizer> Rtn::fit(const BlockContext& ctx, const Selection& own, const GroupMap&, double) const {
  return std::make_unique<FittedRtn>(p_, ctx, own);
}

void Rtn::decode(PlaneReader& reader, const Selection& own, const GroupMap&, View<float> out) const {
  const OwnedIndex index(own);
  if (index.total() == 0) return;
  const Groups groups(p_, index.cols());
  std::vector<Grid> grids(static_cast<size_t>(index.rows() * groups.per_row));
  int64_t used = 0;
  for (int64_t i = 0; i < index.rows(); ++i)
    for (int64_t g = 0; g < groups.per_row; ++g) {
      bool any = own.all();
      if (!any)
        index.visit(i, g * groups.size, std::min(index.cols(), (g + 1) * groups.size), [&](int64_t, int64_t) { any = true; });
      grids[static_cast<size_t>(i * groups.per_row + g)].used = any;
      used += any ? 1 : 0;
    }
  const std::span<const float> scales = reader.numbers(kScales, used);
  const std::span<const uint8_t> zeros = p_.symmetric ? std::span<const uint8_t>() : reader.symbols(kZeros, used, 1 << p_.bits);
  const std::span<const uint8_t> codes = reader.symbols(kCodes, index.total(), 1 << p_.bits);
  size_t at = 0;
  for (Grid& g : grids)
    if (g.used) {
      g.scale = scales[at];
      g.zero = p_.symmetric ? static_cast<float>(1 << (p_.bits - 1)) : static_cast<float>(zeros[at]);
      ++at;
    }
#pragma omp parallel for schedule(static) if (out.size() > kParallelWeights)
  for (int64_t i = 0; i < index.rows(); ++i)
    for (int64_t g = 0; g < groups.per_row; ++g) {
      const Grid grid = grids[static_cast<size_t>(i * groups.per_row + g)];
      index.visit(i, g * groups.size, std::min(index.cols(), (g + 1) * groups.size),
                  [&](int64_t j, int64_t k) { out(i, j) = value_of(static_cast<float>(codes[static_cast<size_t>(k)]), grid); });
    }
}

}  // namespace sage
