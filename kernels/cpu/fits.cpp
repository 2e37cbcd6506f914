// Fits of units on the CPU. Every sum is a chain of double additions in the order of the columns, which is what stored results
// depend on; an addition waits four cycles for the one before, so where units are by row four rows' chains run side by side.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <vector>

#include "core/tensor/owned.h"
#include "core/util/half.h"
#include "kernels/cpu/operations.h"
#include "kernels/shapes.h"

namespace sage::cpu {
namespace {

// False when a label among units[0 .. n) of row i is not below the number of groups.
bool labels_in_range(const ScaleUnits& units, int64_t i, const uint32_t* unit, int64_t n) {
  if (units.map() == nullptr || units.map()->shape != LabelShape::kElement) return true;  // shapes.h has looked at the others
  uint32_t largest = 0;
  for (int64_t j = 0; j < n; ++j)
    largest = std::max(largest, unit[j]);
  return n == 0 || largest < (units.by_row() ? i + 1 : 1) * units.per_row();
}

void add_to(Moments& a, const Moments& b) {
  a.count += b.count;
  a.sum += b.sum;
  a.abs_sum += b.abs_sum;
  a.sq_sum += b.sq_sum;
}

constexpr int kRowsAtOnce = 4;

// add(r, k) for the k < n[r] of every row r, k ascending.
template <class Add>
void side_by_side(const std::array<int64_t, kRowsAtOnce>& n, const Add& add) {
  const int64_t all = *std::min_element(n.begin(), n.end());
  for (int64_t k = 0; k < all; ++k)
    for (size_t r = 0; r < kRowsAtOnce; ++r)
      add(r, k);
  for (size_t r = 0; r < kRowsAtOnce; ++r)
    for (int64_t k = all; k < n[r]; ++k)
      add(r, k);
}

// Of rows [first, first + rows), rows <= kRowsAtOnce, each a unit. closed: scratch of kRowsAtOnce rows.
template <bool kCentered>
void row_moments(WeightView w, int64_t first, int64_t rows, const OwnedIndex& index, const float* center, float* closed,
                 Moments* out) {
  std::array<int64_t, kRowsAtOnce> n = {};
  std::array<const float*, kRowsAtOnce> x = {};
  std::array<double, kRowsAtOnce> mu = {}, sum = {}, abs_sum = {}, sq_sum = {};
  for (int64_t r = 0; r < rows; ++r) {
    const auto at = static_cast<size_t>(r);
    const float* row = w.row(first + r);
    n[at] = index.row_count(first + r);
    x[at] = n[at] == w.cols ? row : closed + r * w.cols;
    if (kCentered) mu[at] = center[first + r];
    if (n[at] == w.cols) continue;
    float* to = closed + r * w.cols;
    index.visit(first + r, 0, w.cols, [&](int64_t j, int64_t) { *to++ = row[j]; });
  }
  side_by_side(n, [&](size_t r, int64_t k) {
    const double d = kCentered ? x[r][k] - mu[r] : x[r][k];
    sum[r] += d;
    abs_sum[r] += std::abs(d);
    sq_sum[r] += d * d;
  });
  for (size_t r = 0; r < static_cast<size_t>(rows); ++r)
    out[first + static_cast<int64_t>(r)] = {n[r], sum[r], abs_sum[r], sq_sum[r]};
}

void of_rows(WeightView w, const OwnedIndex& index, std::span<const float> center, std::span<Moments> out) {
  const int64_t turns = (w.rows + kRowsAtOnce - 1) / kRowsAtOnce;
#pragma omp parallel if (w.size() > kParallelWeights)
  {
    std::vector<float> closed(static_cast<size_t>(kRowsAtOnce * w.cols));
#pragma omp for schedule(static)
    for (int64_t t = 0; t < turns; ++t) {
      const int64_t i = t * kRowsAtOnce, rows = std::min<int64_t>(kRowsAtOnce, w.rows - i);
      if (center.empty())
        row_moments<false>(w, i, rows, index, nullptr, closed.data(), out.data());
      else
        row_moments<true>(w, i, rows, index, center.data(), closed.data(), out.data());
    }
  }
}

// Adds row i to `into`, indexed by unit.
template <bool kCentered>
void add_row(WeightView w, int64_t i, const OwnedIndex& index, const uint32_t* unit, const float* center, Moments* into) {
  // Neighbours mostly share a unit: sums stay in registers until it changes.
  Moments run;
  uint32_t current = w.cols > 0 ? unit[0] : 0;
  double mu = kCentered && w.cols > 0 ? center[current] : 0.0;
  const float* x = w.row(i);
  index.visit(i, 0, w.cols, [&](int64_t j, int64_t) {
    const uint32_t u = unit[j];
    if (u != current) {
      add_to(into[current], run);
      run = {};
      current = u;
      if (kCentered) mu = center[u];
    }
    const double d = kCentered ? x[j] - mu : x[j];
    ++run.count;
    run.sum += d;
    run.abs_sum += std::abs(d);
    run.sq_sum += d * d;
  });
  if (run.count > 0) add_to(into[current], run);
}

// Rows are summed in this many chunks whatever the number of threads, so that sums do not depend on it. Fewer when the
// accumulators of a chunk are large. Stored numbers depend on it, in their last bits.
int64_t chunk_count(int64_t rows, const ScaleUnits& units) {
  const int64_t most = std::clamp<int64_t>(rows / 8, 1, 32);
  if (units.by_row()) return most;
  constexpr int64_t kBytesPerUnit = 24;
  return std::clamp<int64_t>((int64_t{64} << 20) / std::max<int64_t>(units.count() * kBytesPerUnit, 1), 1, most);
}

// magnitude times sgn(r), without a branch: signs of weights are coin flips to a branch predictor.
inline float step(float r, float magnitude, bool keep_zero) {
  const float s = std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) ^ (static_cast<uint32_t>(r < 0) << 31));
  return keep_zero && r == 0 ? magnitude * 0.0f : s;
}

// Fits kRowsAtOnce rows at a time; one object for each thread.
class RowFits {
 public:
  RowFits(WeightView w, const OwnedIndex& index, const ScaleUnits& units, const ResidualRule& rule)
      : w_(w), index_(index), units_(units), rule_(rule), groups_(units.per_row()), unit_(static_cast<size_t>(w.cols)) {
    for (Row& row : rows_) {
      row.x.resize(static_cast<size_t>(w.cols));
      row.sum.resize(static_cast<size_t>(w.cols));
      row.value.resize(static_cast<size_t>(w.cols));
      if (groups_ > 1) row.group.resize(static_cast<size_t>(w.cols));
      row.total.resize(static_cast<size_t>(groups_));
    }
  }

  // False when a label is out of range. levels: of the first of `rows` <= kRowsAtOnce rows; row_error: of each.
  bool fit(int64_t first, int64_t rows, ResidualLevels* levels, double* row_error) {
    n_ = {};
    for (int64_t r = 0; r < rows; ++r) {
      rows_[static_cast<size_t>(r)].levels = levels + r * groups_;
      if (!load(static_cast<size_t>(r), first + r)) return false;
    }
    if (groups_ == 1)
      fit_rows<true>(rows, row_error);
    else
      fit_rows<false>(rows, row_error);
    return true;
  }

 private:
  // The owned weights of a row, closed up.
  struct Row {
    std::vector<float> x, sum, value;  // sum: S so far, value: what a decoder has so far
    std::vector<uint32_t> group;       // within the row
    std::vector<double> total;
    ResidualLevels* levels = nullptr;  // of the row's groups
  };

  bool load(size_t r, int64_t i) {
    Row& row = rows_[r];
    units_.fill(i, 0, w_.cols, unit_.data());
    if (!labels_in_range(units_, i, unit_.data(), w_.cols)) return false;
    const float* x = w_.row(i);
    const auto base = static_cast<uint32_t>(i * groups_);
    int64_t n = 0;
    std::fill_n(row.levels, groups_, ResidualLevels{});
    if (groups_ == 1) {
      index_.visit(i, 0, w_.cols, [&](int64_t j, int64_t) { row.x[static_cast<size_t>(n++)] = x[j]; });
      row.levels->count = n;
    } else {
      index_.visit(i, 0, w_.cols, [&](int64_t j, int64_t) {
        const uint32_t g = unit_[static_cast<size_t>(j)] - base;
        row.x[static_cast<size_t>(n)] = x[j];
        row.group[static_cast<size_t>(n++)] = g;
        ++row.levels[g].count;
      });
    }
    n_[r] = n;
    std::fill_n(row.sum.begin(), n, 0.0f);
    return true;
  }

  // total[g] of each row = sum of value(row, k) over the k of group g, k ascending. value(row, k, levels of k's unit).
  template <bool kOne, class Value>
  void add_up(const Value& value) {
    std::array<double, kRowsAtOnce> one = {};
    if (!kOne)
      for (Row& row : rows_)
        std::fill(row.total.begin(), row.total.end(), 0.0);
    side_by_side(n_, [&](size_t r, int64_t k) {
      Row& row = rows_[r];
      if constexpr (kOne) {
        one[r] += value(row, k, *row.levels);
      } else {
        const uint32_t g = row.group[static_cast<size_t>(k)];
        row.total[g] += value(row, k, row.levels[g]);
      }
    });
    if (kOne)
      for (size_t r = 0; r < kRowsAtOnce; ++r)
        rows_[r].total[0] = one[r];
  }

  // set(levels, total) for every unit that owns weights.
  template <class Set>
  void for_units(const Set& set) {
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      if (n_[r] == 0) continue;
      for (int64_t g = 0; g < groups_; ++g)
        if (ResidualLevels& u = rows_[r].levels[g]; u.count > 0) set(u, rows_[r].total[static_cast<size_t>(g)]);
    }
  }
  static double mean(double total, const ResidualLevels& u) { return total / static_cast<double>(u.count); }

  // S after order o, and with kDecode what a decoder has after it.
  template <bool kOne, bool kDecode>
  void advance(size_t r, size_t o) {
    Row& row = rows_[r];
    const int64_t n = n_[r];
    const bool keep_zero = rule_.keep_zero, mean_each = o == 0 || !rule_.merge_means, start = o == 0;
    float *sum = row.sum.data(), *value = row.value.data();
    const float* x = row.x.data();
    const auto body = [&](int64_t k, float center, float scale, float mean) {
      const float s = step((x[k] - sum[k]) - center, scale, keep_zero);
      sum[k] += center + s;
      if (!kDecode) return;
      const float more = mean_each ? mean + s : s;
      value[k] = start ? more : value[k] + more;
    };
    if (n == 0) return;
    if constexpr (kOne) {
      const ResidualLevels& u = *row.levels;
      const float center = u.center[o], scale = u.scale[o], mean = u.mean[o];
      for (int64_t k = 0; k < n; ++k)
        body(k, center, scale, mean);
    } else {
      for (int64_t k = 0; k < n; ++k) {
        const ResidualLevels& u = row.levels[row.group[static_cast<size_t>(k)]];
        body(k, u.center[o], u.scale[o], u.mean[o]);
      }
    }
  }

  float stored(double v) const {
    const auto f = static_cast<float>(v);
    return rule_.half_numbers ? round_to_finite_half(f) : f;
  }

  template <bool kOne>
  void fit_rows(int64_t rows, double* row_error) {
    const auto orders = static_cast<size_t>(rule_.order);
    for (size_t o = 0; o < orders; ++o) {
      const auto left = [](const Row& row, int64_t k) {
        return row.x[static_cast<size_t>(k)] - row.sum[static_cast<size_t>(k)];
      };
      if (rule_.centered) {
        add_up<kOne>([&](const Row& row, int64_t k, const ResidualLevels&) { return left(row, k); });
        for_units([&](ResidualLevels& u, double total) {
          u.center[o] = rule_.merge_means ? static_cast<float>(mean(total, u)) : stored(mean(total, u));
        });
      }
      add_up<kOne>([&](const Row& row, int64_t k, const ResidualLevels& u) { return std::abs(left(row, k) - u.center[o]); });
      for_units([&](ResidualLevels& u, double total) { u.scale[o] = stored(mean(total, u)); });
      if (o + 1 < orders)
        for (size_t r = 0; r < kRowsAtOnce; ++r)
          advance<kOne, false>(r, o);
    }
    for_units([&](ResidualLevels& u, double) { finish(u); });
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      std::fill_n(rows_[r].sum.begin(), n_[r], 0.0f);
      for (size_t o = 0; o < orders; ++o)
        advance<kOne, true>(r, o);
    }
    add_errors(rows, row_error);
  }

  void finish(ResidualLevels& u) const {
    if (!rule_.merge_means) {
      u.mean = u.center;
      return;
    }
    double sum = 0;
    for (int o = 0; o < rule_.order; ++o)
      sum += u.center[static_cast<size_t>(o)];
    u.mean[0] = stored(sum);
  }

  void add_errors(int64_t rows, double* row_error) {
    std::array<double, kRowsAtOnce> error = {};
    side_by_side(n_, [&](size_t r, int64_t k) {
      const Row& row = rows_[r];
      const double e = static_cast<double>(row.x[static_cast<size_t>(k)]) - row.value[static_cast<size_t>(k)];
      error[r] += e * e;
    });
    std::copy_n(error.begin(), rows, row_error);
  }

  const WeightView w_;
  const OwnedIndex& index_;
  const ScaleUnits& units_;
  const ResidualRule rule_;
  const int64_t groups_;
  std::vector<uint32_t> unit_;
  std::array<Row, kRowsAtOnce> rows_;
  std::array<int64_t, kRowsAtOnce> n_ = {};  // owned weights of each
};

}  // namespace

void CpuBackend::unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                              std::span<Moments> out) const {
  shapes::unit_moments(w, own, units, center, out);
  std::fill(out.begin(), out.end(), Moments{});
  const OwnedIndex index(own);
  if (units.by_row() && units.map() == nullptr) {
    of_rows(w, index, center, out);
    return;
  }
  const int64_t chunks = chunk_count(w.rows, units);
  std::vector<std::vector<Moments>> parts(static_cast<size_t>(units.by_row() ? 0 : chunks), std::vector<Moments>(out.size()));
  std::vector<std::vector<uint32_t>> scratch(static_cast<size_t>(chunks), std::vector<uint32_t>(static_cast<size_t>(w.cols)));
  std::vector<uint8_t> wrong(static_cast<size_t>(chunks));
#pragma omp parallel for schedule(dynamic) if (w.size() > kParallelWeights)
  for (int64_t c = 0; c < chunks; ++c) {
    uint32_t* unit = scratch[static_cast<size_t>(c)].data();
    Moments* into = units.by_row() ? out.data() : parts[static_cast<size_t>(c)].data();
    for (int64_t i = w.rows * c / chunks; i < w.rows * (c + 1) / chunks; ++i) {
      units.fill(i, 0, w.cols, unit);
      if (!labels_in_range(units, i, unit, w.cols)) {
        wrong[static_cast<size_t>(c)] = 1;
        break;
      }
      if (center.empty())
        add_row<false>(w, i, index, unit, nullptr, into);
      else
        add_row<true>(w, i, index, unit, center.data(), into);
    }
  }
  shapes::require(std::count(wrong.begin(), wrong.end(), 1) == 0, "unit_moments", shapes::kLabelRule);
  for (const std::vector<Moments>& part : parts)
    for (size_t u = 0; u < part.size(); ++u)
      add_to(out[u], part[u]);
}

double CpuBackend::residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                                     std::span<ResidualLevels> levels) const {
  shapes::residual_binarize(w, own, units, rule, levels);
  const OwnedIndex index(own);
  const int64_t turns = (w.rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<double> row_error(static_cast<size_t>(w.rows));
  std::vector<uint8_t> wrong(static_cast<size_t>(turns));
#pragma omp parallel if (w.size() > kParallelWeights)
  {
    RowFits fits(w, index, units, rule);
#pragma omp for schedule(static)
    for (int64_t t = 0; t < turns; ++t) {
      const int64_t i = t * kRowsAtOnce;
      wrong[static_cast<size_t>(t)] =
          !fits.fit(i, std::min<int64_t>(kRowsAtOnce, w.rows - i), levels.data() + i * units.per_row(), row_error.data() + i);
    }
  }
  shapes::require(std::count(wrong.begin(), wrong.end(), 1) == 0, "residual_binarize", shapes::kLabelRule);
  double error = 0;
  for (double e : row_error)
    error += e;
  return error;
}

}  // namespace sage::cpu
