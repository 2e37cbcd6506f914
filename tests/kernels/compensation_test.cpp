// Compensation updates: all backends against naive double sums, and the same bytes for any number of threads.
#include <cstring>

#include "tests/kernels/support.h"

namespace sage::test {
namespace {

class Compensation : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, Compensation, testing::ValuesIn(backend_names()), test_name);

struct Case {
  int64_t n, k, m;
};
const Case kCases[] = {{1, 1, 1}, {3, 7, 17}, {65, 128, 33}, {513, 5, 15}, {20, 64, 1025}, {4, 0, 9}, {6, 3, 0}};

TEST_P(Compensation, SubtractProduct) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.n << " x " << c.k << " x " << c.m << " seed " << seed());
    Padded a(c.n, c.k, 3), b(c.k, c.m, 1), x(c.n, c.m, 2);
    fill_normal(a.view(), 1);
    fill_normal(b.view(), 2);
    fill_normal(x.view(), 3);
    const Matrix before = Matrix::copy(x.view());
    backend_->subtract_product(a.view(), b.view(), x.view());
    double error = 0, energy = 0;
    for (int64_t i = 0; i < c.n; ++i)
      for (int64_t j = 0; j < c.m; ++j) {
        double e = before(i, j);
        for (int64_t k = 0; k < c.k; ++k)
          e -= static_cast<double>(a.view()(i, k)) * b.view()(k, j);
        error += std::pow(x.view()(i, j) - e, 2);
        energy += e * e;
      }
    EXPECT_LE(error, 1e-11 * energy);
    EXPECT_TRUE(x.margin_intact());
  }
}

// Exactly x - fl(u e), the two roundings of released code: compensated weights decide codes.
TEST_P(Compensation, SubtractOuterRoundsTwice) {
  for (const Case& c : kCases) {
    Padded x(c.n, c.m, 2), u(1, c.n, 0), e(1, c.m, 0);
    fill_normal(x.view(), 1);
    fill_normal(u.view(), 2);
    fill_normal(e.view(), 3);
    const Matrix before = Matrix::copy(x.view());
    backend_->subtract_outer({u.view().row(0), static_cast<size_t>(c.n)}, {e.view().row(0), static_cast<size_t>(c.m)}, x.view());
    for (int64_t i = 0; i < c.n; ++i)
      for (int64_t j = 0; j < c.m; ++j) {
        const volatile float product = u.view()(0, i) * e.view()(0, j);
        ASSERT_EQ(x.view()(i, j), before(i, j) - product) << i << "," << j;
      }
    EXPECT_TRUE(x.margin_intact());
  }
}

// In several tiles and in a single one, which no thread would share out.
class CompensationThreads : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, CompensationThreads, testing::ValuesIn(threaded_backend_names()), test_name);
TEST_P(CompensationThreads, DoNotMatter) {
  for (const Case& c : {Case{700, 128, 1500}, Case{400, 500, 900}}) {
    Padded a(c.n, c.k, 1), b(c.k, c.m, 1), x(c.n, c.m, 1);
    fill_normal(a.view(), 1);
    fill_normal(b.view(), 2);
    fill_normal(x.view(), 3);
    Matrix one = Matrix::copy(x.view()), two = Matrix::copy(x.view()), y(c.n, c.m), z(c.n, c.m);
    const Matrix transposed = [&] {
      Matrix t(c.m, c.k);
      for (int64_t i = 0; i < c.m; ++i)
        for (int64_t j = 0; j < c.k; ++j)
          t(i, j) = b.view()(j, i);
      return t;
    }();
    {
      const Threads threads(1);
      backend_->subtract_product(a.view(), b.view(), one.view());
      backend_->linear(a.view(), transposed.view(), {}, y.view());
    }
    const Threads threads(3);
    backend_->subtract_product(a.view(), b.view(), two.view());
    backend_->linear(a.view(), transposed.view(), {}, z.view());
    EXPECT_EQ(std::memcmp(one.data(), two.data(), sizeof(float) * static_cast<size_t>(one.size())), 0) << c.n;
    EXPECT_EQ(std::memcmp(y.data(), z.data(), sizeof(float) * static_cast<size_t>(y.size())), 0) << c.n;
  }
}

}  // namespace
}  // namespace sage::test
