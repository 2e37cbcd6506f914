#include "tests/strategies_a/half_normal.h"

#include <boost/math/quadrature/gauss.hpp>
#include <cmath>
#include <functional>

namespace sage::test {
namespace {

double density(double x) { return std::sqrt(2.0 / M_PI) * std::exp(-x * x / 2); }

double integral(const std::function<double(double)>& f, double a, double b) {
  double sum = 0;
  const int pieces = std::max(1, static_cast<int>(std::ceil((b - a) / 0.5)));
  for (int p = 0; p < pieces; ++p)
    sum += boost::math::quadrature::gauss<double, 15>::integrate(f, a + (b - a) * p / pieces, a + (b - a) * (p + 1) / pieces);
  return sum;
}

double quantile(double p) {
  double lo = 0, hi = 12;
  for (int i = 0; i < 80; ++i) {
    const double mid = (lo + hi) / 2;
    (std::erf(mid / std::sqrt(2.0)) < p ? lo : hi) = mid;
  }
  return (lo + hi) / 2;
}

}  // namespace

HalfNormalGroups half_normal_groups(int groups, double salient_share, bool equal_count) {
  HalfNormalGroups g;
  g.threshold = salient_share > 0 ? quantile(1 - salient_share) : 12.0;
  const double kept = 1 - salient_share;
  for (int k = 1; k < groups; ++k)
    g.cuts.push_back(quantile(kept * k / groups));
  std::vector<double> share;
  for (int step = 0;; ++step) {
    g.means.clear();
    share.clear();
    for (int k = 0; k < groups; ++k) {
      const double a = k == 0 ? 0.0 : g.cuts[static_cast<size_t>(k) - 1],
                   b = k + 1 == groups ? g.threshold : g.cuts[static_cast<size_t>(k)];
      share.push_back(integral(density, a, b));
      g.means.push_back(integral([](double x) { return x * density(x); }, a, b) / share.back());
    }
    double moved = 0;
    if (!equal_count)
      for (size_t k = 0; k < g.cuts.size(); ++k) {
        const double cut = (g.means[k] + g.means[k + 1]) / 2;
        moved = std::max(moved, std::abs(cut - g.cuts[k]));
        g.cuts[k] = cut;
      }
    if (moved < 1e-9 || step > 5000) break;
  }
  g.kept_energy = integral([](double x) { return x * x * density(x); }, 0, g.threshold);
  g.error = g.kept_energy;
  for (size_t k = 0; k < share.size(); ++k) {
    g.error -= share[k] * g.means[k] * g.means[k];
    g.entropy -= share[k] / kept * std::log2(share[k] / kept);
  }
  return g;
}

}  // namespace sage::test
