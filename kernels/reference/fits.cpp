#include <algorithm>
#include <cmath>
#include <vector>

#include "core/util/half.h"
#include "kernels/reference/quantization.h"
#include "kernels/shapes.h"

namespace sage::reference {
namespace {

void check_labels(const ScaleUnits& units, const char* operation) {
  if (units.map() == nullptr) return;
  for (uint8_t e : units.map()->element)
    shapes::require(e < units.per_row(), operation, shapes::kLabelRule);
}

size_t unit_of(const ScaleUnits& units, int64_t i, int64_t j) {
  const int64_t label = units.map() == nullptr ? 0 : units.map()->at(i, j);
  return static_cast<size_t>((units.by_row() ? i * units.per_row() : 0) + label);
}

float stored(double v, const ResidualRule& rule) {
  const auto f = static_cast<float>(v);
  return rule.half_numbers ? round_to_finite_half(f) : f;
}

// sgn(r) times a magnitude.
float step(float r, float magnitude, const ResidualRule& rule) {
  if (r < 0) return magnitude * -1.0f;
  return magnitude * (rule.keep_zero && r == 0 ? 0.0f : 1.0f);
}

// What a decoder makes of x.
float decoded(float x, const ResidualLevels& u, const ResidualRule& rule) {
  float sum = 0, value = 0;
  for (size_t o = 0; o < static_cast<size_t>(rule.order); ++o) {
    const float s = step((x - sum) - u.center[o], u.scale[o], rule);
    sum += u.center[o] + s;
    if (o == 0)
      value = u.mean[0] + s;
    else
      value += rule.merge_means ? s : u.mean[o] + s;
  }
  return value;
}

// Unit by unit: x are its owned weights.
ResidualLevels levels_of(const std::vector<float>& x, const ResidualRule& rule) {
  ResidualLevels u;
  u.count = static_cast<int64_t>(x.size());
  if (x.empty()) return u;
  const auto n = static_cast<double>(x.size());
  std::vector<float> sum(x.size(), 0.0f);
  double centers = 0;
  for (size_t o = 0; o < static_cast<size_t>(rule.order); ++o) {
    double total = 0, distance = 0;
    for (size_t k = 0; k < x.size(); ++k)
      total += x[k] - sum[k];
    const double mean = rule.centered ? total / n : 0.0;
    u.center[o] = rule.merge_means ? static_cast<float>(mean) : stored(mean, rule);
    centers += u.center[o];
    for (size_t k = 0; k < x.size(); ++k)
      distance += std::fabs((x[k] - sum[k]) - u.center[o]);
    u.scale[o] = stored(distance / n, rule);
    for (size_t k = 0; k < x.size(); ++k)
      sum[k] += u.center[o] + step((x[k] - sum[k]) - u.center[o], u.scale[o], rule);
  }
  if (rule.merge_means)
    u.mean[0] = stored(centers, rule);
  else
    u.mean = u.center;
  return u;
}

}  // namespace

void unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                  std::span<Moments> out) {
  shapes::unit_moments(w, own, units, center, out);
  check_labels(units, "unit_moments");
  std::fill(out.begin(), out.end(), Moments{});
  for (int64_t i = 0; i < w.rows; ++i) {
    for (int64_t j = 0; j < w.cols; ++j) {
      if (!own.owns(i, j)) continue;
      const size_t u = unit_of(units, i, j);
      const double d = static_cast<double>(w(i, j)) - (center.empty() ? 0.0 : static_cast<double>(center[u]));
      ++out[u].count;
      out[u].sum += d;
      out[u].abs_sum += std::fabs(d);
      out[u].sq_sum += d * d;
    }
  }
}

double residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                         std::span<ResidualLevels> levels) {
  shapes::residual_binarize(w, own, units, rule, levels);
  check_labels(units, "residual_binarize");
  std::vector<std::vector<float>> members(levels.size());
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      if (own.owns(i, j)) members[unit_of(units, i, j)].push_back(w(i, j));
  for (size_t u = 0; u < levels.size(); ++u)
    levels[u] = levels_of(members[u], rule);
  double error = 0;
  for (int64_t i = 0; i < w.rows; ++i) {
    double row_error = 0;
    for (int64_t j = 0; j < w.cols; ++j) {
      if (!own.owns(i, j)) continue;
      const double e = static_cast<double>(w(i, j)) - decoded(w(i, j), levels[unit_of(units, i, j)], rule);
      row_error += e * e;
    }
    error += row_error;
  }
  return error;
}

}  // namespace sage::reference
