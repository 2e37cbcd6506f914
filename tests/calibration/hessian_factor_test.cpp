// The factor of the inverse against the released code's (baselines/inputs.h5) and against its definition.
#include "core/calibration/hessian_factor.h"

#include <cblas.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "tests/calibration/support.h"
#include "tests/support/h5_fixture.h"

namespace sage::test {
namespace {

Matrix random_gram(int64_t n, uint64_t stream) {
  std::vector<Matrix> x;
  x.push_back(inputs(n + 20, n, stream));
  const std::vector<double> h = naive_gram(x);
  Matrix out(n, n);
  for (int64_t k = 0; k < n * n; ++k)
    out.data()[k] = static_cast<float>(h[static_cast<size_t>(k)]);
  return out;
}

// max |(U^T U) H - I|, with H as damped, in double.
double identity_error(const HessianFactor& f, const Matrix& h) {
  const int64_t n = h.rows();
  const auto at = [&](int64_t i, int64_t j) {
    const int64_t k = f.order.empty() ? i : f.order[static_cast<size_t>(i)],
                  l = f.order.empty() ? j : f.order[static_cast<size_t>(j)];
    return (i == j ? (h(k, k) == 0 ? 1.0 : static_cast<double>(h(k, k))) + f.damping
                   : static_cast<double>(h(std::min(k, l), std::max(k, l))));
  };
  std::vector<double> uh(static_cast<size_t>(n * n), 0.0);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t k = i; k < n; ++k)
      for (int64_t j = 0; j < n; ++j)
        uh[static_cast<size_t>(i * n + j)] += f.upper(i, k) * at(k, j);
  double worst = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = i == j ? -1.0 : 0.0;
      for (int64_t k = 0; k <= i; ++k)
        sum += f.upper(k, i) * uh[static_cast<size_t>(k * n + j)];
      worst = std::max(worst, std::fabs(sum));
    }
  return worst;
}

TEST(HessianFactor, AsTheReleasedCode) {
  const H5Fixture f("baselines/inputs.h5");
  int full = 0, diagonals = 0;
  for (const std::string& name : f.children("/")) {
    SCOPED_TRACE(name);
    const int64_t m = f.attribute<int64_t>(name, "m");
    const Matrix h = f.matrix(name + "/H");  // lower triangle zero
    const std::vector<float> diagonal = f.floats(name + "/U_diag");
    // How far the released FP32 factor is from one in FP64, relative to the diagonal: no implementation can be nearer to it.
    const double rel_diag = f.attribute<double>(name, "u_rel_diag"), rel_row = f.attribute<double>(name, "u_rel_row");
    for (GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
      FactorOptions o;
      o.percdamp = f.attribute<double>(name, "percdamp");
      o.precision = precision;
      const HessianFactor r = factor_hessian(h.view(), o, name);
      const double slack = precision == GramPrecision::kFp32 ? 2.0 : 1.05;  // our own FP32 rounding comes on top
      EXPECT_EQ(static_cast<int64_t>(r.dead.size()), f.attribute<int64_t>(name, "dead_columns"));
      EXPECT_EQ(r.retries, 0);
      double worst_diag = 0, worst_row = 0;
      for (int64_t j = 0; j < m; ++j) {
        const double u = diagonal[static_cast<size_t>(j)];
        worst_diag = std::max(worst_diag, std::fabs(r.upper(j, j) - u) / u);
      }
      EXPECT_LT(worst_diag, slack * rel_diag + 1.2e-7);
      ++diagonals;
      if (!f.has(name + "/U")) continue;
      const Matrix u = f.matrix(name + "/U");
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < m; ++j) {
          if (j < i) {
            ASSERT_EQ(r.upper(i, j), 0.0f);
          }
          worst_row = std::max(worst_row, std::fabs(static_cast<double>(r.upper(i, j)) - u(i, j)) / u(i, i));
        }
      EXPECT_LT(worst_row, slack * rel_row + 1.2e-7);
      ++full;
    }
  }
  EXPECT_EQ(full, 4);
  EXPECT_EQ(diagonals, 10);
}

TEST(HessianFactor, IsAFactorOfTheInverse) {
  for (int64_t n : {1, 2, 15, 64, 130}) {
    const Matrix h = random_gram(n, static_cast<uint64_t>(n));
    for (bool ordered : {false, true}) {
      for (GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
        FactorOptions o;
        o.precision = precision;
        o.act_order = ordered;
        const HessianFactor f = factor_hessian(h.view(), o, "h");
        EXPECT_LT(identity_error(f, h), precision == GramPrecision::kFp32 ? 1e-3 : 1e-4) << n;  // U is FP32 either way
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t i = 0; i <= j; ++i)
            sum += static_cast<double>(f.upper(i, j)) * f.upper(i, j);
          EXPECT_NEAR(f.inverse_diagonal[static_cast<size_t>(j)], sum, 1e-5 * sum);
        }
      }
    }
  }
}

// The 2 x 2 case by hand: H = [[a, b], [b, c]], det = ac - b^2, H^-1 = [[c, -b], [-b, a]] / det.
TEST(HessianFactor, ClosedForm) {
  Matrix h = Matrix::zeros(2, 2);
  h(0, 0) = 5;
  h(0, 1) = 2;
  h(1, 1) = 3;
  FactorOptions o;
  o.percdamp = 0.25;  // lambda = 1
  o.precision = GramPrecision::kFp64;
  const HessianFactor f = factor_hessian(h.view(), o, "h");
  EXPECT_DOUBLE_EQ(f.damping, 1.0);
  const double a = 6, b = 2, c = 4, det = a * c - b * b;
  EXPECT_NEAR(f.inverse_diagonal[0], c / det, 1e-7);
  EXPECT_NEAR(f.inverse_diagonal[1], a / det, 1e-7);
  EXPECT_NEAR(f.upper(0, 0), std::sqrt(c / det), 1e-7);
  EXPECT_NEAR(f.upper(0, 1), -b / det / std::sqrt(c / det), 1e-7);
  EXPECT_NEAR(f.upper(1, 1), 1 / std::sqrt(c), 2e-7);
  EXPECT_EQ(f.upper(1, 0), 0);
}

TEST(HessianFactor, DeadColumns) {
  Matrix h = random_gram(40, 3);
  for (int64_t dead : {4, 17})
    for (int64_t j = 0; j < 40; ++j)
      h(dead, j) = h(j, dead) = 0;
  const HessianFactor f = factor_hessian(h.view(), {}, "h");
  EXPECT_EQ(f.dead, (std::vector<int32_t>{4, 17}));
  double trace = 2;  // the dead ones count as 1
  for (int64_t j = 0; j < 40; ++j)
    trace += h(j, j);
  EXPECT_NEAR(f.damping, 0.01 * trace / 40, 1e-9 * trace);
  EXPECT_NEAR(f.upper(4, 4), 1 / std::sqrt(1 + f.damping), 1e-6);
  for (int64_t j = 5; j < 40; ++j)
    EXPECT_EQ(f.upper(4, j), 0);
}

TEST(HessianFactor, DampingGrowsUntilPositiveDefinite) {
  Matrix h = random_gram(30, 5);
  double mean = 0;
  for (int64_t j = 0; j < 30; ++j)
    mean += h(j, j) / 30;
  // Lowers one eigenvalue to about -0.05 of the mean diagonal: (e_0 - e_1) gets a negative form.
  const double a = h(0, 0), b = h(1, 1);
  h(0, 1) = h(1, 0) = static_cast<float>((a + b) / 2 + 0.05 * mean);
  FactorOptions o;
  const HessianFactor f = factor_hessian(h.view(), o, "layer 2 qkv");
  EXPECT_GE(f.retries, 1);
  EXPECT_NEAR(f.percdamp, 0.01 * std::pow(10, f.retries), 1e-12);
  EXPECT_NEAR(f.damping, f.percdamp * mean, 1e-6 * mean);
  EXPECT_LT(identity_error(f, h), 1e-3);
  o.max_percdamp = 0.03;  // the last attempt is made with the limit itself
  expect_words(message_of<RunError>([&] { factor_hessian(h.view(), o, "layer 2 qkv"); }),
               {"layer 2 qkv", "not positive definite", "0.03", "1 retries", "max_percdamp"});
  o = {};
  o.percdamp = 0;
  EXPECT_GT(factor_hessian(h.view(), o, "layer 2 qkv").percdamp, 0.0);
  h(0, 1) = static_cast<float>(-40 * mean);
  EXPECT_THROW(factor_hessian(h.view(), {}, "layer 2 qkv"), RunError);
}

TEST(HessianFactor, RefusesBadGrams) {
  Matrix h = random_gram(10, 6);
  h(2, 5) = std::numeric_limits<float>::infinity();
  expect_words(message_of<RunError>([&] { factor_hessian(h.view(), {}, "layer 1 o"); }), {"layer 1 o", "(2, 5)"});
  h = random_gram(10, 6);
  FactorOptions o;
  for (double bad : {-0.1, 2.0, std::numeric_limits<double>::quiet_NaN()}) {
    o.percdamp = bad;
    EXPECT_THROW(factor_hessian(h.view(), o, "layer 1 o"), UserError);
  }
}

TEST(HessianFactor, OfDeadColumnsAloneCompensatesNothing) {
  const Matrix zero = Matrix::zeros(10, 10);
  for (const bool act_order : {false, true}) {
    FactorOptions o;
    o.act_order = act_order;
    const HessianFactor f = factor_hessian(zero.view(), o, "layer 1 o");
    EXPECT_EQ(f.dead.size(), 10u);
    EXPECT_EQ(f.retries, 0);
    for (int64_t i = 0; i < 10; ++i)
      for (int64_t j = 0; j < 10; ++j)
        EXPECT_FLOAT_EQ(f.upper(i, j), i == j ? static_cast<float>(1 / std::sqrt(1.01)) : 0.0f);
  }
}

TEST(HessianFactor, Order) {
  Matrix h = random_gram(20, 7);
  for (int64_t j = 0; j < 20; ++j)
    h(3, j) = h(j, 3) = h(11, j) = h(j, 11) = 0;
  const std::vector<int32_t> order = act_order(h.view());
  std::vector<int32_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int32_t k = 0; k < 20; ++k)
    EXPECT_EQ(sorted[static_cast<size_t>(k)], k);
  const auto diagonal = [&](int32_t j) { return h(j, j) == 0 ? 1.0f : h(j, j); };
  for (size_t k = 1; k < order.size(); ++k)
    EXPECT_GE(diagonal(order[k - 1]), diagonal(order[k]));
  EXPECT_LT(inverse_order(order)[3], inverse_order(order)[11]);  // equal ones keep their order
  const Matrix p = permute_gram(h.view(), order);
  for (int64_t k = 0; k < 20; ++k)
    for (int64_t l = 0; l < 20; ++l)
      EXPECT_EQ(p(k, l), h(order[static_cast<size_t>(k)], order[static_cast<size_t>(l)]));
  FactorOptions o;
  o.act_order = true;
  EXPECT_EQ(factor_hessian(h.view(), o, "h").order, order);
  EXPECT_EQ(factor_hessian(h.view(), o, "h").dead, (std::vector<int32_t>{3, 11}));
}

TEST(HessianFactor, SameBytesForAnyNumberOfThreads) {
  const Matrix h = random_gram(230, 9);  // above 200 OpenBLAS takes to threads
  const int blas = openblas_get_num_threads();
  for (GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
    FactorOptions o;
    o.precision = precision;
    std::vector<HessianFactor> out;
    for (int n : {1, 2}) {
      const Threads threads(n);
      openblas_set_num_threads(n);
      out.push_back(factor_hessian(h.view(), o, "h"));
      EXPECT_EQ(openblas_get_num_threads(), n);
      EXPECT_EQ(omp_get_max_threads(), n);
    }
    EXPECT_EQ(std::memcmp(out[0].upper.data(), out[1].upper.data(), sizeof(float) * 230 * 230), 0);
    EXPECT_EQ(out[0].inverse_diagonal, out[1].inverse_diagonal);
  }
  openblas_set_num_threads(blas);
}

}  // namespace
}  // namespace sage::test
