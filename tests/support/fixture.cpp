#include "tests/support/fixture.h"

#include <boost/math/special_functions/erf.hpp>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/util/random.h"

namespace sage::test {
namespace {

Matrix quantile_table(int bits, double (*quantile)(double)) {
  if (bits < 2 || bits > 30 || bits % 2 != 0) throw std::invalid_argument("fixture: bits must be even, 2 .. 30");
  const int64_t side = int64_t{1} << (bits / 2);
  const double count = std::ldexp(1.0, bits);
  Matrix w(side, side);
  for (int64_t k = 0; k < side * side; ++k) {
    const double u = (static_cast<double>(fixture_permutation(static_cast<uint64_t>(k), bits)) + 0.5) / count;
    w.data()[k] = static_cast<float>(quantile(u));
  }
  return w;
}

double laplace_quantile(double u) {
  const double x = std::log(1.0 - 2.0 * std::abs(u - 0.5)) / std::sqrt(2.0);
  return u < 0.5 ? x : -x;
}

double exponential(Rng& rng) { return -std::log(1.0 - rng.uniform()); }

// Marsaglia and Tsang (2000), shape >= 1.
double gamma_variate(Rng& rng, double shape) {
  const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
  for (;;) {
    const double x = rng.normal(), v = std::pow(1.0 + c * x, 3.0);
    if (v > 0 && std::log(1.0 - rng.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
  }
}

double student_t(Rng& rng, double freedom) {
  const double z = rng.normal();
  return z / std::sqrt(2.0 * gamma_variate(rng, freedom / 2.0) / freedom);
}

}  // namespace

uint64_t fixture_permutation(uint64_t k, int bits) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  constexpr struct {
    int shift;
    uint64_t factor;
  } kRounds[] = {{10, 0x9E3779B1u}, {7, 0x85EBCA77u}, {9, 0xC2B2AE3Du}};
  for (const auto& round : kRounds)
    k = ((k ^ (k >> round.shift)) * round.factor) & mask;
  return k ^ (k >> 11);
}

double normal_quantile(double p) { return -std::sqrt(2.0) * boost::math::erfc_inv(2.0 * p); }
double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double normal_density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2.0 * M_PI); }

Matrix fixture_normal(int bits) { return quantile_table(bits, normal_quantile); }
Matrix fixture_laplace(int bits) { return quantile_table(bits, laplace_quantile); }

Matrix make_random(std::string_view kind, int64_t rows, int64_t cols, uint64_t seed) {
  const size_t plus = kind.find("+s");
  const std::string base(kind.substr(0, plus));
  Rng rng(seed, "test-matrix");
  Matrix w(rows, cols);
  const bool gauss = base == "gauss", laplace = base == "lapmix";
  if (!gauss && !laplace && (base.size() < 2 || base[0] != 't'))
    throw std::invalid_argument("make_random: unknown kind " + base);
  const double freedom = gauss || laplace ? 0 : std::stod(base.substr(1));
  for (int64_t k = 0; k < w.size(); ++k) {
    double x;
    if (gauss) {
      x = rng.normal();
    } else if (laplace) {
      x = exponential(rng) * (rng.uniform() < 0.5 ? -1 : 1);
      if (rng.uniform() < 0.1) x *= 2.5;
    } else {
      x = student_t(rng, freedom);
    }
    w.data()[k] = static_cast<float>(x);
  }
  if (plus != std::string_view::npos) {
    std::vector<double> column(static_cast<size_t>(cols));
    for (double& c : column) {
      c = std::exp(0.15 * rng.normal());
      if (rng.uniform() < 0.004) c *= 2.0 + 3.0 * rng.uniform();
    }
    for (int64_t i = 0; i < rows; ++i) {
      const double row = std::exp(0.25 * rng.normal());
      for (int64_t j = 0; j < cols; ++j)
        w(i, j) = static_cast<float>(w(i, j) * row * column[static_cast<size_t>(j)]);
    }
  }
  double energy = 0;
  for (int64_t k = 0; k < w.size(); ++k)
    energy += static_cast<double>(w.data()[k]) * w.data()[k];
  const double scale = energy > 0 ? std::sqrt(static_cast<double>(w.size()) / energy) : 1.0;
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] = static_cast<float>(w.data()[k] * scale);
  return w;
}

}  // namespace sage::test
