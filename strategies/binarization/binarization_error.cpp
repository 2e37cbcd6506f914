#include "strategies/binarization/binarization_error.h"

#include <cmath>
#include <cstddef>

namespace sage {
namespace {

struct Deviations {
  double abs = 0;
  double sq = 0;
  double above = 0;  // how many are positive; counts are kept in double for the vector units
  double below = 0;
};

// Of x - mu - step * sign(x - first_mu): with step 0 the deviations of x itself, else those of its residual.
template <bool kResidual>
Deviations deviations(std::span<const double> x, double first_mu, double step, double mu) {
  double abs = 0, sq = 0, above = 0, below = 0;
  const double* v = x.data();
  const size_t n = x.size();
#pragma omp simd reduction(+ : abs, sq, above, below)
  for (size_t k = 0; k < n; ++k) {
    double d = v[k] - first_mu;
    if constexpr (kResidual) d -= (d > 0 ? step : 0.0) - (d < 0 ? step : 0.0) + mu;
    abs += std::abs(d);
    sq += d * d;
    above += d > 0 ? 1.0 : 0.0;
    below += d < 0 ? 1.0 : 0.0;
  }
  return {abs, sq, above, below};
}

double left_over(const Deviations& d, double n, double alpha) {
  const double error = d.sq - (2 * n - d.above - d.below) * alpha * alpha;
  return error > 1e-13 * d.sq ? error : 0.0;
}

}  // namespace

double binarization_error(std::span<const double> x, BinarizationRule rule) {
  if (x.empty()) return 0;
  const double n = static_cast<double>(x.size());
  double sum = 0;
  if (rule.centered) {
    const double* v = x.data();
#pragma omp simd reduction(+ : sum)
    for (size_t k = 0; k < x.size(); ++k)
      sum += v[k];
  }
  const double mu = sum / n;
  const Deviations first = deviations<false>(x, mu, 0, 0);
  const double alpha = first.abs / n;
  if (rule.order == 1) return left_over(first, n, alpha);
  // The deviations from the mean add up to 0, those of the residual to -alpha (above - below).
  const double residual_mu = rule.centered ? -alpha * (first.above - first.below) / n : 0.0;
  const Deviations second = deviations<true>(x, mu, alpha, residual_mu);
  const double error = left_over(second, n, second.abs / n);
  return error > 1e-13 * first.sq ? error : 0.0;
}

}  // namespace sage
