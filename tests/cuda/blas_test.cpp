// Row-major matrices as cuBLAS reads them: each mapping carried out by loops that take a call literally, column-major, and held
// against the product as it is written. The emulated cuBLAS is held against the same loops.
#include "kernels/cuda/blas.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/util/half.h"
#include "core/util/random.h"
#include "kernels/cuda_on_cpu/emulated_api.h"

namespace sage::test {
namespace {

using cuda::DeviceRows;
using cuda::GemmCall;
using cuda::Number;
using cuda::SyrkCall;

double number_at(const void* data, int64_t i, Number number) {
  switch (number) {
    case Number::kFloat64: return static_cast<const double*>(data)[i];
    case Number::kFloat32: return static_cast<const float*>(data)[i];
    case Number::kFloat16: return half_to_float(static_cast<const uint16_t*>(data)[i]);
    case Number::kBfloat16: return bfloat16_to_float(static_cast<const uint16_t*>(data)[i]);
  }
  return 0;
}
void set_number(void* data, int64_t i, Number number, double v) {
  switch (number) {
    case Number::kFloat64: static_cast<double*>(data)[i] = v; break;
    case Number::kFloat32: static_cast<float*>(data)[i] = static_cast<float>(v); break;
    case Number::kFloat16: static_cast<uint16_t*>(data)[i] = float_to_half(static_cast<float>(v)); break;
    case Number::kBfloat16: static_cast<uint16_t*>(data)[i] = float_to_bfloat16(static_cast<float>(v)); break;
  }
}

// C = alpha op(A) op(B) + beta C; element (i, j) of a matrix is data[j * ld + i]. C is not read when beta is 0.
void literally(const GemmCall& g) {
  ASSERT_GE(g.lda, std::max<int64_t>(1, g.transpose_a ? g.k : g.m));
  ASSERT_GE(g.ldb, std::max<int64_t>(1, g.transpose_b ? g.n : g.k));
  ASSERT_GE(g.ldc, std::max<int64_t>(1, g.m));
  for (int64_t i = 0; i < g.m; ++i)
    for (int64_t j = 0; j < g.n; ++j) {
      double sum = 0;
      for (int64_t p = 0; p < g.k; ++p)
        sum += number_at(g.a, g.transpose_a ? i * g.lda + p : p * g.lda + i, g.input) *
               number_at(g.b, g.transpose_b ? p * g.ldb + j : j * g.ldb + p, g.input);
      const double before = g.beta == 0 ? 0 : g.beta * number_at(g.c, j * g.ldc + i, g.output);
      set_number(g.c, j * g.ldc + i, g.output, g.alpha * sum + before);
    }
}
void literally(const SyrkCall& s) {
  ASSERT_GE(s.lda, std::max<int64_t>(1, s.transpose ? s.k : s.n));
  ASSERT_GE(s.ldc, std::max<int64_t>(1, s.n));
  for (int64_t i = 0; i < s.n; ++i)
    for (int64_t j = 0; j < s.n; ++j) {
      if (s.lower ? i < j : i > j) continue;
      double sum = 0;
      for (int64_t p = 0; p < s.k; ++p)
        sum += number_at(s.a, s.transpose ? i * s.lda + p : p * s.lda + i, s.number) *
               number_at(s.a, s.transpose ? j * s.lda + p : p * s.lda + j, s.number);
      const double before = s.beta == 0 ? 0 : s.beta * number_at(s.c, j * s.ldc + i, s.number);
      set_number(s.c, j * s.ldc + i, s.number, s.alpha * sum + before);
    }
}

// rows x cols normal values, rows ld apart, NaN between them.
class Rows {
 public:
  Rows(int64_t rows, int64_t cols, int64_t extra, uint64_t stream) : rows_(rows), cols_(cols), ld_(cols + extra) {
    values_.assign(static_cast<size_t>(std::max<int64_t>(1, rows * ld_)), std::nanf(""));
    Rng rng(7, stream);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        at(i, j) = static_cast<float>(rng.normal());
  }
  float& at(int64_t i, int64_t j) { return values_[static_cast<size_t>(i * ld_ + j)]; }
  DeviceRows device() const { return {values_.data(), rows_, cols_, ld_}; }
  float* data() { return values_.data(); }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t ld() const { return ld_; }

 private:
  int64_t rows_, cols_, ld_;
  std::vector<float> values_;
};

// result = alpha sum_k left(i, k) right(k, j) + beta before, and nothing between the rows written.
template <class Sum>
void expect_product(Rows& before, Rows& result, double alpha, double beta, bool upper_only, const Sum& sum) {
  for (int64_t i = 0; i < result.rows(); ++i)
    for (int64_t j = 0; j < result.ld(); ++j) {
      const float got = result.at(i, j);
      if (j >= result.cols()) {
        ASSERT_TRUE(std::isnan(got)) << "written beside row " << i;
      } else if (upper_only && i > j) {
        ASSERT_EQ(got, before.at(i, j)) << "written below the diagonal";
      } else {
        const double expected = alpha * sum(i, j) + beta * before.at(i, j);
        ASSERT_NEAR(got, expected, 1e-5 * (1 + std::fabs(expected))) << i << "," << j;
      }
    }
}

struct Case {
  int64_t rows, inner, cols;
  int64_t extra_a, extra_b, extra_c;
};
const Case kCases[] = {{1, 1, 1, 0, 0, 0}, {1, 7, 5, 0, 3, 2},   {5, 1, 9, 4, 0, 0},
                       {3, 8, 1, 0, 0, 5}, {6, 11, 13, 1, 2, 3}, {17, 4, 6, 0, 0, 0}};

TEST(Blas, TimesTransposed) {
  for (const Case& c : kCases)
    for (double beta : {0.0, 1.0}) {
      Rows x(c.rows, c.inner, c.extra_a, 1), w(c.cols, c.inner, c.extra_b, 2), y(c.rows, c.cols, c.extra_c, 3), before = y;
      literally(cuda::times_transposed(x.device(), w.device(), y.data(), y.ld(), 0.5, beta));
      expect_product(before, y, 0.5, beta, false, [&](int64_t i, int64_t j) {
        double sum = 0;
        for (int64_t k = 0; k < c.inner; ++k)
          sum += static_cast<double>(x.at(i, k)) * w.at(j, k);
        return sum;
      });
    }
}

TEST(Blas, Times) {
  for (const Case& c : kCases)
    for (double beta : {0.0, 1.0}) {
      Rows a(c.rows, c.inner, c.extra_a, 1), b(c.inner, c.cols, c.extra_b, 2), y(c.rows, c.cols, c.extra_c, 3), before = y;
      literally(cuda::times(a.device(), b.device(), y.data(), y.ld(), -1, beta));
      expect_product(before, y, -1, beta, false, [&](int64_t i, int64_t j) {
        double sum = 0;
        for (int64_t k = 0; k < c.inner; ++k)
          sum += static_cast<double>(a.at(i, k)) * b.at(k, j);
        return sum;
      });
    }
}

TEST(Blas, GramIsTheUpperTriangle) {
  for (const Case& c : kCases)
    for (double beta : {0.0, 0.25}) {
      Rows x(c.rows, c.inner, c.extra_a, 1), y(c.inner, c.inner, c.extra_c, 3), before = y;
      literally(cuda::gram(x.device(), y.data(), y.ld(), 2, beta));
      expect_product(before, y, 2, beta, true, [&](int64_t i, int64_t j) {
        double sum = 0;
        for (int64_t t = 0; t < c.rows; ++t)
          sum += static_cast<double>(x.at(t, i)) * x.at(t, j);
        return sum;
      });
    }
}

// BLAS asks for a leading dimension of at least the extent, of matrices without rows or with a single one, too.
TEST(Blas, LeadingDimensionsOfNarrowViews) {
  float number = 1, result = 0;
  const DeviceRows one{&number, 1, 1, 0}, none{&number, 0, 0, 0};
  literally(cuda::times(one, one, &result, 0));
  EXPECT_EQ(result, 1);
  literally(cuda::times_transposed(one, one, &result, 0));
  EXPECT_EQ(result, 1);
  literally(cuda::gram(one, &result, 0, 3, 0));
  EXPECT_EQ(result, 3);
  literally(cuda::times(none, none, &result, 0));
  literally(cuda::gram(none, &result, 0, 1, 0));
  EXPECT_EQ(result, 3);
}

// n values as numbers of a kind, in memory of exactly their size.
std::vector<unsigned char> numbers(int64_t n, Number number, uint64_t stream) {
  std::vector<unsigned char> out(static_cast<size_t>(n) * number_bytes(number));
  Rng rng(11, stream);
  for (int64_t i = 0; i < n; ++i)
    set_number(out.data(), i, number, rng.normal());
  return out;
}

struct Numbers {
  Number input, output;
};
const Numbers kNumbers[] = {{Number::kFloat64, Number::kFloat64},
                            {Number::kFloat32, Number::kFloat32},
                            {Number::kFloat16, Number::kFloat32},
                            {Number::kBfloat16, Number::kFloat32}};

TEST(Blas, TheEmulatedGemmIsTheLiteralOne) {
  const std::unique_ptr<cuda::Api> api = cuda::make_emulated_api();
  for (const Case& c : kCases)
    for (const Numbers& kind : kNumbers)
      for (int transposes = 0; transposes < 4; ++transposes)
        for (double beta : {0.0, 0.5}) {
          GemmCall g;
          g.transpose_a = (transposes & 1) != 0;
          g.transpose_b = (transposes & 2) != 0;
          g.m = c.rows;
          g.k = c.inner;
          g.n = c.cols;
          g.alpha = -2;
          g.beta = beta;
          g.lda = (g.transpose_a ? g.k : g.m) + c.extra_a;
          g.ldb = (g.transpose_b ? g.n : g.k) + c.extra_b;
          g.ldc = g.m + c.extra_c;
          g.input = kind.input;
          g.output = kind.output;
          const auto a = numbers(g.lda * (g.transpose_a ? g.m : g.k), kind.input, 1),
                     b = numbers(g.ldb * (g.transpose_b ? g.k : g.n), kind.input, 2);
          auto expected = numbers(g.ldc * g.n, kind.output, 3), got = expected;
          g.a = a.data();
          g.b = b.data();
          g.c = expected.data();
          literally(g);
          g.c = got.data();
          ASSERT_TRUE(api->gemm(g, nullptr).ok());
          for (int64_t i = 0; i < g.ldc * g.n; ++i)
            ASSERT_NEAR(number_at(got.data(), i, kind.output), number_at(expected.data(), i, kind.output),
                        kind.output == Number::kFloat64 ? 1e-13 : 1e-5);
        }
}

TEST(Blas, TheEmulatedSyrkIsTheLiteralOne) {
  const std::unique_ptr<cuda::Api> api = cuda::make_emulated_api();
  for (const Case& c : kCases)
    for (Number number : {Number::kFloat64, Number::kFloat32})
      for (int options = 0; options < 8; ++options) {
        SyrkCall s;
        s.lower = (options & 1) != 0;
        s.transpose = (options & 2) != 0;
        s.beta = (options & 4) != 0 ? 0.5 : 0;
        s.alpha = 3;
        s.n = c.rows;
        s.k = c.inner;
        s.lda = (s.transpose ? s.k : s.n) + c.extra_a;
        s.ldc = s.n + c.extra_c;
        s.number = number;
        const auto a = numbers(s.lda * (s.transpose ? s.n : s.k), number, 1);
        auto expected = numbers(s.ldc * s.n, number, 3), got = expected;
        s.a = a.data();
        s.c = expected.data();
        literally(s);
        s.c = got.data();
        ASSERT_TRUE(api->syrk(s, nullptr).ok());
        for (int64_t i = 0; i < s.ldc * s.n; ++i)
          ASSERT_NEAR(number_at(got.data(), i, number), number_at(expected.data(), i, number),
                      number == Number::kFloat64 ? 1e-13 : 1e-5);
      }
}

TEST(Blas, TheEmulatedCallsRefuseShortLeadingDimensions) {
  const std::unique_ptr<cuda::Api> api = cuda::make_emulated_api();
  std::vector<float> v(64);
  GemmCall g;
  g.m = g.n = g.k = 4;
  g.a = g.b = v.data();
  g.c = v.data();
  g.lda = g.ldb = g.ldc = 4;
  for (int64_t GemmCall::*ld : {&GemmCall::lda, &GemmCall::ldb, &GemmCall::ldc}) {
    GemmCall bad = g;
    bad.*ld = 3;
    const cuda::Status s = api->gemm(bad, nullptr);
    EXPECT_EQ(s.code, 7);  // CUBLAS_STATUS_INVALID_VALUE
    EXPECT_EQ(s.library, cuda::Status::Library::kBlas);
  }
}

}  // namespace
}  // namespace sage::test
