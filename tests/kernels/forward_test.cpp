// Forward-pass operations: the reference against naive double code written here, the others against the same.
#include "tests/kernels/support.h"

namespace sage::test {
namespace {

constexpr double kExact = 1e-13;    // NMSE of one rounding to FP32 per result
constexpr double kProduct = 1e-11;  // FP32 accumulation of a few thousand products

class Forward : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, Forward, testing::ValuesIn(backend_names()), test_name);

TEST_P(Forward, Linear) {
  struct Case {
    int64_t t, m, n;
  };
  for (const Case& c : {Case{1, 1, 1},
                        {1, 65, 63},
                        {3, 576, 192},
                        {64, 127, 65},
                        {130, 300, 64},
                        {513, 17, 33},
                        {2, 1100, 5},
                        {4, 3, 0},
                        {0, 3, 4}}) {
    for (bool with_bias : {false, true}) {
      SCOPED_TRACE(testing::Message() << c.t << " x " << c.m << " x " << c.n << " seed " << seed());
      Padded x(c.t, c.n, 3), w(c.m, c.n, 1), y(c.t, c.m, 2);
      fill_normal(x.view(), 1);
      fill_normal(w.view(), 2);
      const std::vector<float> bias = with_bias ? normal_vector(c.m, 3) : std::vector<float>{};
      backend_->linear(x.view(), w.view(), bias, y.view());
      Matrix expected(c.t, c.m);
      for (int64_t t = 0; t < c.t; ++t)
        for (int64_t o = 0; o < c.m; ++o) {
          double sum = with_bias ? bias[static_cast<size_t>(o)] : 0.0;
          for (int64_t i = 0; i < c.n; ++i)
            sum += static_cast<double>(x.view()(t, i)) * w.view()(o, i);
          expected(t, o) = static_cast<float>(sum);
        }
      EXPECT_LT(nmse(expected.view(), y.view()), kProduct);
      EXPECT_TRUE(y.margin_intact());
    }
  }
  Matrix x(2, 3), w(4, 5), y(2, 4);
  EXPECT_THROW(backend_->linear(x.view(), w.view(), {}, y.view()), Error);
}

TEST_P(Forward, Norms) {
  for (int64_t n : {1, 15, 64, 65, 576, 4097}) {
    SCOPED_TRACE(testing::Message() << n << " seed " << seed());
    Padded x(37, n, 2), y(37, n, 1);
    fill_normal(x.view(), 4, 3.0);
    for (int64_t j = 0; j < n; ++j)
      x.view()(0, j) = 0;  // eps alone
    for (int64_t j = 0; j < n; ++j)
      x.view()(1, j) += 1000.0f;  // variance from small differences
    const std::vector<float> gamma = normal_vector(n, 5), beta = normal_vector(n, 6);
    backend_->rms_norm(x.view(), gamma, 1e-5f, y.view());
    Matrix expected(37, n);
    for (int64_t t = 0; t < 37; ++t) {
      double sq = 0;
      for (int64_t j = 0; j < n; ++j)
        sq += static_cast<double>(x.view()(t, j)) * x.view()(t, j);
      for (int64_t j = 0; j < n; ++j)
        expected(t, j) =
            static_cast<float>(x.view()(t, j) / std::sqrt(sq / static_cast<double>(n) + 1e-5) * gamma[static_cast<size_t>(j)]);
    }
    EXPECT_LT(nmse(expected.view(), y.view()), kExact);
    EXPECT_TRUE(y.margin_intact());
    backend_->layer_norm(x.view(), gamma, beta, 1e-5f, y.view());
    for (int64_t t = 0; t < 37; ++t) {
      double mean = 0, var = 0;
      for (int64_t j = 0; j < n; ++j)
        mean += x.view()(t, j) / static_cast<double>(n);
      for (int64_t j = 0; j < n; ++j)
        var += std::pow(x.view()(t, j) - mean, 2) / static_cast<double>(n);
      for (int64_t j = 0; j < n; ++j) {
        const auto c = static_cast<size_t>(j);
        expected(t, j) = static_cast<float>((x.view()(t, j) - mean) / std::sqrt(var + 1e-5) * gamma[c] + beta[c]);
      }
    }
    EXPECT_LT(nmse(expected.view(), y.view()), 1e-12);
  }
}

TEST_P(Forward, NormsWorkInPlace) {
  Matrix x(5, 33);
  fill_normal(x.view(), 7);
  const std::vector<float> gamma = normal_vector(33, 8), beta = normal_vector(33, 9);
  Matrix y(5, 33);
  backend_->rms_norm(x.view(), gamma, 1e-6f, y.view());
  backend_->rms_norm(x.view(), gamma, 1e-6f, x.view());
  EXPECT_EQ(nmse(y.view(), x.view()), 0.0);
  backend_->layer_norm(x.view(), gamma, beta, 1e-6f, y.view());
  backend_->layer_norm(x.view(), gamma, beta, 1e-6f, x.view());
  EXPECT_EQ(nmse(y.view(), x.view()), 0.0);
}

TEST_P(Forward, Rotary) {
  for (int head_dim : {2, 8, 30, 64, 128}) {
    const int heads = 3;
    RotaryTable table;
    table.head_dim = head_dim;
    table.attention_factor = 1.25f;
    for (int i = 0; i < head_dim / 2; ++i)
      table.inv_freq.push_back(std::pow(10000.0, -2.0 * i / head_dim));
    for (int64_t first : {0, 1000}) {
      Padded x(70, heads * head_dim, 4);
      fill_normal(x.view(), 9);
      Matrix expected(70, heads * head_dim);
      for (int64_t t = 0; t < 70; ++t)
        for (int h = 0; h < heads; ++h)
          for (int i = 0; i < head_dim / 2; ++i) {
            // FP32 angle, as the interface's users expect from the models' own code.
            const float angle = static_cast<float>(first + t) * static_cast<float>(table.inv_freq[static_cast<size_t>(i)]);
            const double c = std::cos(double{angle}), s = std::sin(double{angle});
            const int64_t a = h * head_dim + i, b = a + head_dim / 2;
            expected(t, a) = static_cast<float>((x.view()(t, a) * c - x.view()(t, b) * s) * 1.25);
            expected(t, b) = static_cast<float>((x.view()(t, b) * c + x.view()(t, a) * s) * 1.25);
          }
      backend_->rotary(x.view(), heads, table, first);
      EXPECT_LT(nmse(expected.view(), x.view()), kExact) << head_dim << " " << first << " seed " << seed();
      EXPECT_TRUE(x.margin_intact());
    }
  }
}

// A second table, then the first again: remembered angles must not be mistaken for others.
TEST_P(Forward, RotaryTellsTablesApart) {
  RotaryTable a, b;
  a.head_dim = b.head_dim = 2;
  a.inv_freq = {1.0};
  b.inv_freq = {0.5};
  for (int round = 0; round < 2; ++round) {
    for (const RotaryTable& t : {a, b}) {
      for (int64_t first : {0, 3, 1}) {
        Matrix x = Matrix::zeros(4, 2);
        for (int64_t i = 0; i < 4; ++i)
          x(i, 0) = 1;
        backend_->rotary(x.view(), 1, t, first);
        for (int64_t i = 0; i < 4; ++i) {
          EXPECT_NEAR(x(i, 0), std::cos(static_cast<double>(first + i) * t.inv_freq[0]), 1e-6);
          EXPECT_NEAR(x(i, 1), std::sin(static_cast<double>(first + i) * t.inv_freq[0]), 1e-6);
        }
      }
    }
  }
}

TEST_P(Forward, Attention) {
  struct Case {
    int64_t length;
    AttentionShape shape;
  };
  const Case cases[] = {{1, {1, 1, 4, 0.5f, 0}},        {5, {2, 1, 3, 1.0f, 0}},     {63, {4, 2, 16, 0.25f, 0}},
                        {64, {3, 1, 17, 0.3f, 0}},      {65, {9, 3, 64, 0.125f, 0}}, {130, {2, 2, 80, 0.1f, 0}},
                        {200, {4, 1, 32, 0.2f, 7}},     {200, {2, 2, 8, 0.2f, 1}},   {257, {6, 3, 24, 0.2f, 64}},
                        {150, {1, 1, 128, 0.09f, 149}}, {0, {1, 1, 4, 1.0f, 0}}};
  for (const Case& c : cases) {
    const AttentionShape& s = c.shape;
    SCOPED_TRACE(testing::Message() << c.length << " positions, " << s.heads << "/" << s.kv_heads << " heads of " << s.head_dim
                                    << ", window " << s.window << ", seed " << seed());
    Padded q(c.length, s.heads * s.head_dim, 1), k(c.length, s.kv_heads * s.head_dim, 2),
        v(c.length, s.kv_heads * s.head_dim, 3), out(c.length, s.heads * s.head_dim, 4);
    fill_normal(q.view(), 10, 2.0);
    fill_normal(k.view(), 11, 2.0);
    fill_normal(v.view(), 12);
    backend_->attention(q.view(), k.view(), v.view(), s, out.view());
    Matrix expected(c.length, s.heads * s.head_dim);
    for (int64_t t = 0; t < c.length; ++t) {
      for (int h = 0; h < s.heads; ++h) {
        const int64_t qc = int64_t{h} * s.head_dim, kc = int64_t{h / (s.heads / s.kv_heads)} * s.head_dim;
        std::vector<double> weight;
        double total = 0;
        for (int64_t u = 0; u <= t; ++u) {
          double dot = 0;
          for (int d = 0; d < s.head_dim; ++d)
            dot += static_cast<double>(q.view()(t, qc + d)) * k.view()(u, kc + d);
          const bool seen = s.window == 0 || u > t - s.window;
          weight.push_back(seen ? std::exp(dot * s.scale) : 0.0);
          total += weight.back();
        }
        for (int d = 0; d < s.head_dim; ++d) {
          double sum = 0;
          for (int64_t u = 0; u <= t; ++u)
            sum += weight[static_cast<size_t>(u)] * v.view()(u, kc + d);
          expected(t, qc + d) = static_cast<float>(sum / total);
        }
      }
    }
    EXPECT_LT(nmse(expected.view(), out.view()), kProduct);
    EXPECT_TRUE(out.margin_intact());
  }
}

TEST_P(Forward, AttentionSurvivesLargeScores) {
  const AttentionShape s{1, 1, 16, 1.0f, 0};
  Matrix q(100, 16), k(100, 16), v(100, 16), out(100, 16);
  fill_normal(q.view(), 13, 30.0);
  fill_normal(k.view(), 14, 30.0);
  fill_normal(v.view(), 15);
  backend_->attention(q.view(), k.view(), v.view(), s, out.view());
  const std::unique_ptr<Backend> oracle = backend("reference");
  Matrix expected(100, 16);
  oracle->attention(q.view(), k.view(), v.view(), s, expected.view());
  EXPECT_LT(nmse(expected.view(), out.view()), 1e-6);  // scores of thousands: their FP32 rounding shows in the weights
  for (int64_t i = 0; i < 16; ++i)
    EXPECT_EQ(out(0, i), v(0, i));
}

TEST_P(Forward, SiluMul) {
  for (int64_t n : {1, 16, 63, 577}) {
    Padded gate(20, n, 1), up(20, n, 2), out(20, n, 3);
    fill_normal(gate.view(), 16, 8.0);
    fill_normal(up.view(), 17);
    Matrix expected(20, n);
    double worst = 0;
    backend_->silu_mul(gate.view(), up.view(), out.view());
    for (int64_t t = 0; t < 20; ++t)
      for (int64_t j = 0; j < n; ++j) {
        const double g = gate.view()(t, j), e = g / (1 + std::exp(-g)) * up.view()(t, j);
        expected(t, j) = static_cast<float>(e);
        worst = std::max(worst, std::fabs(out.view()(t, j) - e) / std::max(std::fabs(e), 1e-30));
      }
    EXPECT_LT(worst, 5e-7) << n << " seed " << seed();
    EXPECT_LT(nmse(expected.view(), out.view()), kExact);
    EXPECT_TRUE(out.margin_intact());
    backend_->silu_mul(gate.view(), up.view(), gate.view());
    EXPECT_EQ(nmse(out.view(), gate.view()), 0.0) << "in place";
  }
}

TEST_P(Forward, SiluMulAtTheEnds) {
  const float x[] = {0.0f, -0.0f, 1e-30f, 90.0f, -90.0f, 200.0f, -200.0f, 1e30f, -1e30f, 1e-45f};
  Matrix gate(1, 10), up(1, 10), out(1, 10);
  for (int64_t i = 0; i < 10; ++i) {
    gate(0, i) = x[i];
    up(0, i) = 1;
  }
  backend_->silu_mul(gate.view(), up.view(), out.view());
  for (int64_t i = 0; i < 10; ++i) {
    const double g = x[i], e = g / (1 + std::exp(-g));
    EXPECT_NEAR(out(0, i), e, 1e-6 * std::fabs(e) + 1e-7) << x[i];
  }
  gate(0, 3) = std::nanf("");
  backend_->silu_mul(gate.view(), up.view(), out.view());
  EXPECT_TRUE(std::isnan(out(0, 3))) << "a NaN must not be hidden";
}

TEST_P(Forward, ReluAndAdd) {
  for (int64_t n : {1, 16, 65, 40001}) {
    Padded x(3, n, 2), y(3, n, 0);
    fill_normal(x.view(), 18);
    fill_normal(y.view(), 19);
    const Matrix before = Matrix::copy(x.view());
    backend_->add(x.view(), y.view());
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < n; ++j)
        ASSERT_EQ(x.view()(i, j), before(i, j) + y.view()(i, j));
    const Matrix sum = Matrix::copy(x.view());
    backend_->relu(x.view());
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < n; ++j)
        ASSERT_EQ(x.view()(i, j), std::max(sum(i, j), 0.0f));
    EXPECT_TRUE(x.margin_intact());
  }
}

double gelu_of(double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0)); }

TEST_P(Forward, Gelu) {
  for (int64_t n : {1, 16, 63, 577, 40001}) {
    Padded x(3, n, 2);
    fill_normal(x.view(), 23, 4.0);  // out to 13 standard deviations of Phi's argument
    const Matrix before = Matrix::copy(x.view());
    backend_->gelu(x.view());
    double worst = 0;
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double e = gelu_of(before(i, j));
        if (std::fabs(e) > 1e-37) worst = std::max(worst, std::fabs(x.view()(i, j) - e) / std::fabs(e));
      }
    EXPECT_LT(worst, 1e-6) << n << " seed " << seed();
    EXPECT_TRUE(x.margin_intact());
  }
}

TEST_P(Forward, GeluOverItsRange) {
  Matrix x(1, 26001), mirrored(1, 26001);
  for (int64_t j = 0; j < x.cols(); ++j)
    x(0, j) = static_cast<float>(j - 13000) * 0.001f, mirrored(0, j) = -x(0, j);
  const Matrix at = Matrix::copy(x.view());
  backend_->gelu(x.view());
  backend_->gelu(mirrored.view());
  for (int64_t j = 0; j < x.cols(); ++j) {
    const double v = at(0, j), e = gelu_of(v);
    ASSERT_LE(std::fabs(x(0, j) - e), 1e-6 * std::fabs(e)) << v;
    // x Phi(x) + (-x) Phi(-x) = x (2 Phi(x) - 1) = x erf(x / sqrt 2), and x Phi(x) - (-x) Phi(-x) = x.
    ASSERT_NEAR(x(0, j) + mirrored(0, j), v * std::erf(v / std::sqrt(2.0)), 1e-6 * std::fabs(v)) << v;
    ASSERT_NEAR(x(0, j) - mirrored(0, j), v, 1e-6 * std::fabs(v)) << v;
  }
}

TEST_P(Forward, GeluAtTheEnds) {
  const float inf = std::numeric_limits<float>::infinity();
  const float x[] = {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-45f, 20.0f, 1e30f, 3e38f, inf, -14.0f, -20.0f, -1e30f, -3e38f, -inf};
  const float expected[] = {0.0f, 0.0f, 0.5e-30f, -0.5e-30f, 0.0f, 20.0f, 1e30f, 3e38f, inf, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  Matrix m(1, 15);
  std::copy(std::begin(x), std::end(x), m.data());
  m(0, 14) = std::nanf("");
  backend_->gelu(m.view());
  for (int64_t i = 0; i < 14; ++i) {
    if (std::isinf(expected[i])) {
      EXPECT_EQ(m(0, i), expected[i]);
    } else {
      EXPECT_NEAR(m(0, i), expected[i], 1e-6 * std::fabs(expected[i]) + 2e-38) << x[i];
    }
  }
  EXPECT_TRUE(std::isnan(m(0, 14))) << "a NaN must not be hidden";
}

TEST_P(Forward, ResultsDoNotDependOnThreads) {
  auto run = [&](int n) {
    const Threads threads(n);
    std::vector<float> out;
    auto put = [&](const Matrix& m) { out.insert(out.end(), m.data(), m.data() + m.size()); };
    Matrix x(300, 192), w(1300, 192), y(300, 1300), z(300, 192), big(300, 1300);
    fill_normal(x.view(), 20);
    fill_normal(w.view(), 21);
    backend_->linear(x.view(), w.view(), {}, y.view());
    put(y);
    backend_->attention(x.view(), x.view(), x.view(), {3, 3, 64, 0.1f, 0}, z.view());
    put(z);
    backend_->silu_mul(y.view(), y.view(), big.view());
    put(big);
    backend_->rms_norm(x.view(), normal_vector(192, 22), 1e-5f, z.view());
    put(z);
    return out;
  };
  const std::vector<float> one = run(1);
  EXPECT_TRUE(run(2) == one);
  EXPECT_TRUE(run(3) == one);
}

}  // namespace
}  // namespace sage::test
