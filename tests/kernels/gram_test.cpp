// Gram updates: all backends against naive double sums, and the same bytes for any number of threads.
#include <cstring>

#include "tests/kernels/support.h"

namespace sage::test {
namespace {

class Gram : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, Gram, testing::ValuesIn(backend_names()), test_name);

struct Case {
  int64_t tokens, cols;
};
const Case kCases[] = {{1, 1}, {7, 3}, {64, 17}, {33, 65}, {5, 300}, {600, 40}, {130, 513}, {0, 20}, {3, 0}};

// x^T x, upper triangle.
std::vector<double> expected(WeightView x) {
  std::vector<double> sum(static_cast<size_t>(x.cols * x.cols), 0.0);
  for (int64_t t = 0; t < x.rows; ++t)
    for (int64_t i = 0; i < x.cols; ++i)
      for (int64_t j = i; j < x.cols; ++j)
        sum[static_cast<size_t>(i * x.cols + j)] += static_cast<double>(x(t, i)) * x(t, j);
  return sum;
}

TEST_P(Gram, UpperTriangleOfTheSum) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.tokens << " x " << c.cols << " seed " << seed());
    Padded first(c.tokens, c.cols, 3), second(c.tokens, c.cols, 1), gram(c.cols, c.cols, 2);
    fill_normal(first.view(), 1);
    fill_normal(second.view(), 2);
    backend_->gram_update(first.view(), 0.0, 2.0, gram.view());  // gram holds NaN before
    backend_->gram_update(second.view(), 0.5, 1.0, gram.view());
    const std::vector<double> a = expected(first.view()), b = expected(second.view());
    double error = 0, energy = 0;
    for (int64_t i = 0; i < c.cols; ++i) {
      for (int64_t j = 0; j < c.cols; ++j) {
        if (i > j) {
          ASSERT_TRUE(std::isnan(gram.view()(i, j))) << "written below the diagonal at " << i << "," << j;
          continue;
        }
        const double e = a[static_cast<size_t>(i * c.cols + j)] + b[static_cast<size_t>(i * c.cols + j)];
        error += std::pow(gram.view()(i, j) - e, 2);
        energy += e * e;
      }
    }
    EXPECT_LE(error, 1e-11 * energy);
    EXPECT_TRUE(gram.margin_intact());
  }
}

TEST_P(Gram, DoublePrecision) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.tokens << " x " << c.cols << " seed " << seed());
    Padded x(c.tokens, c.cols, 2);
    fill_normal(x.view(), 3);
    std::vector<double> gram(static_cast<size_t>(c.cols * c.cols), std::nan(""));
    const View<double> view(gram.data(), c.cols, c.cols);
    backend_->gram_update(x.view(), 0.0, 2.0, view);
    backend_->gram_update(x.view(), 0.25, 0.5, view);
    const std::vector<double> e = expected(x.view());
    const auto at = [&](int64_t i, int64_t j) { return e[static_cast<size_t>(i * c.cols + j)]; };
    for (int64_t i = 0; i < c.cols; ++i)
      for (int64_t j = i; j < c.cols; ++j)
        ASSERT_NEAR(view(i, j), at(i, j), 1e-13 * std::sqrt(at(i, i) * at(j, j)));
    for (int64_t i = 1; i < c.cols; ++i)
      ASSERT_TRUE(std::isnan(view(i, 0)));
  }
}

class GramThreads : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, GramThreads, testing::ValuesIn(threaded_backend_names()), test_name);
TEST_P(GramThreads, DoNotChangeTheBytes) {
  for (const auto& [tokens, cols] : {Case{600, 100}, Case{150, 250}, Case{150, 577}}) {  // one, two and three panels
    Matrix x(tokens, cols);
    fill_normal(x.view(), 4);
    std::vector<Matrix> out;
    std::vector<std::vector<double>> wide;
    const auto size = static_cast<size_t>(cols * cols);
    for (int n : {1, 2, 3}) {
      const Threads threads(n);
      out.push_back(Matrix::zeros(cols, cols));
      wide.emplace_back(size);
      for (int round = 1; round <= 2; ++round) {
        backend_->gram_update(x.view(), 0.5, 2.0 / round, out.back().view());
        backend_->gram_update(x.view(), 0.5, 2.0 / round, View<double>(wide.back().data(), cols, cols));
      }
      EXPECT_EQ(omp_get_max_threads(), n);
      EXPECT_EQ(std::memcmp(out[0].data(), out.back().data(), size * sizeof(float)), 0) << cols << ", " << n << " threads";
      EXPECT_EQ(wide[0], wide.back()) << cols << ", " << n << " threads";
    }
  }
}

// One bad activation always shows on the diagonal, where calibration looks for it.
TEST_P(Gram, NonfiniteActivationsReachTheDiagonal) {
  for (float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF, 3e19f}) {
    Matrix x(90, 40), gram(40, 40);
    fill_normal(x.view(), 5);
    x(77, 31) = bad;
    backend_->gram_update(x.view(), 0.0, 2.0, gram.view());
    for (int64_t j = 0; j < 40; ++j)
      EXPECT_EQ(std::isfinite(gram(j, j)), j != 31) << bad;
  }
}

TEST_P(Gram, RefusesWrongShapes) {
  Matrix x(3, 4), gram(4, 5), other(3, 3);
  EXPECT_THROW(backend_->gram_update(x.view(), 0, 1, gram.view()), Error);
  EXPECT_THROW(backend_->gram_update(x.view(), 0, 1, other.view()), Error);
}

}  // namespace
}  // namespace sage::test
