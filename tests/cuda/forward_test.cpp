// Norms, rotary embedding and elementwise kernels: where the matrices lie, and values at the ends of the range. Accuracy on
// ordinary matrices is tests/kernels' business.
#include <cfloat>
#include <functional>

#include "tests/cuda/device_view.h"

namespace sage::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kLeast = 0x1p-149f;

class CudaForward : public testing::Test {
 protected:
  const std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend();
};

// x, y -> x changed in place, for every operation.
using Operation = std::function<void(const Backend&, View<float> x, WeightView y)>;
struct Named {
  const char* name;
  Operation run;
};
std::vector<Named> operations() {
  auto gains = [](int64_t n) { return normal_vector(n, 40); };
  return {
      {"add", [](const Backend& b, View<float> x, WeightView y) { b.add(x, y); }},
      {"relu", [](const Backend& b, View<float> x, WeightView) { b.relu(x); }},
      {"gelu", [](const Backend& b, View<float> x, WeightView) { b.gelu(x); }},
      {"silu_mul onto the gate", [](const Backend& b, View<float> x, WeightView y) { b.silu_mul(x, y, x); }},
      {"silu_mul onto the factor", [](const Backend& b, View<float> x, WeightView y) { b.silu_mul(y, x, x); }},
      {"rms_norm", [=](const Backend& b, View<float> x, WeightView) { b.rms_norm(x, gains(x.cols), 1e-5f, x); }},
      {"layer_norm",
       [=](const Backend& b, View<float> x, WeightView) { b.layer_norm(x, gains(x.cols), gains(x.cols), 1e-5f, x); }},
      {"rotary",
       [](const Backend& b, View<float> x, WeightView) {
         if (x.cols % 2 != 0) return;
         RotaryTable table;
         table.head_dim = static_cast<int>(x.cols % 6 == 0 ? x.cols / 3 : x.cols);
         for (int i = 0; i < table.head_dim / 2; ++i)
           table.inv_freq.push_back(1.0 / (1 + i));
         b.rotary(x, static_cast<int>(x.cols / table.head_dim), table, 5);
       }},
  };
}

// Sixteen bytes at a time or one number: the result is that of contiguous memory, bit by bit, and nothing else is touched.
TEST_F(CudaForward, ResultsDoNotDependOnWhereMatricesLie) {
  for (const Named& operation : operations())
    for (int64_t rows : {1, 5})
      for (int64_t cols : {1, 2, 3, 4, 5, 12, 127, 128, 129, 255, 256, 257, 1023, 1024, 1028}) {
        const Matrix x = normal_matrix(rows, cols, 41, 3.0), y = normal_matrix(rows, cols, 42);
        Matrix expected = Matrix::copy(x.view());
        operation.run(*backend_, expected.view(), y.view());
        for (const Placement& px : placements())
          for (const Placement& py : {Placement{0, 0}, Placement{1, 2}}) {
            SCOPED_TRACE(testing::Message() << operation.name << " " << rows << " x " << cols << " at " << px.offset << "+"
                                            << px.extra << " and " << py.offset << "+" << py.extra << ", seed " << seed());
            const DeviceView dx(*backend_, x.view(), px), dy(*backend_, y.view(), py);
            operation.run(*backend_, dx.view(), dy.view());
            ASSERT_TRUE(same_bits(expected, dx.host()));
            ASSERT_TRUE(dx.margin_intact());
            ASSERT_TRUE(same_bits(y, dy.host())) << "an input was written";
          }
      }
}

TEST_F(CudaForward, OutputsMayBeOtherMatrices) {
  const Matrix x = normal_matrix(7, 130, 43), y = normal_matrix(7, 130, 44);
  const std::vector<float> gain = normal_vector(130, 45), shift = normal_vector(130, 46);
  const Matrix empty = normal_matrix(7, 130, 47);
  for (const Placement& p : placements()) {
    const DeviceView dx(*backend_, x.view(), p), dy(*backend_, y.view(), {1, 1}), out(*backend_, empty.view(), {2, 3});
    auto same_in_place = [&](const auto& onto_out, const auto& in_place) {
      onto_out();
      const DeviceView copy_of_x(*backend_, x.view(), {0, 2});
      in_place(copy_of_x.view());
      EXPECT_TRUE(same_bits(copy_of_x.host(), out.host()));
      EXPECT_TRUE(same_bits(x, dx.host()));
      EXPECT_TRUE(out.margin_intact());
    };
    same_in_place([&] { backend_->silu_mul(dx.view(), dy.view(), out.view()); },
                  [&](View<float> v) { backend_->silu_mul(v, dy.view(), v); });
    same_in_place([&] { backend_->rms_norm(dx.view(), gain, 1e-6f, out.view()); },
                  [&](View<float> v) { backend_->rms_norm(v, gain, 1e-6f, v); });
    same_in_place([&] { backend_->layer_norm(dx.view(), gain, shift, 1e-6f, out.view()); },
                  [&](View<float> v) { backend_->layer_norm(v, gain, shift, 1e-6f, v); });
  }
}

TEST_F(CudaForward, MoreRowsThanAGridHas) {
  const int64_t rows = 65535 + 6;
  Matrix x(rows, 2);
  for (int64_t i = 0; i < rows; ++i) {
    x(i, 0) = static_cast<float>(i);
    x(i, 1) = 1;
  }
  const DeviceView dx(*backend_, x.view(), {0, 1});  // not contiguous: a grid row for each row
  backend_->add(dx.view(), dx.view());
  Matrix sum = dx.host();
  for (int64_t i = 0; i < rows; ++i)
    ASSERT_EQ(sum(i, 0), 2.0f * static_cast<float>(i));
  RotaryTable table;
  table.head_dim = 2;
  table.inv_freq = {0.25};
  backend_->rotary(dx.view(), 1, table, 0);
  sum = dx.host();
  for (int64_t i = 0; i < rows; ++i) {
    const double angle = 0.25 * static_cast<double>(i), a = 2.0 * static_cast<double>(i);
    ASSERT_NEAR(sum(i, 0), a * std::cos(angle) - 2 * std::sin(angle), 1e-6 * a + 1e-6) << i;
    ASSERT_NEAR(sum(i, 1), 2 * std::cos(angle) + a * std::sin(angle), 1e-6 * a + 1e-6) << i;
  }
}

TEST_F(CudaForward, ElementwiseAtTheEnds) {
  const Matrix x = row_of({0.0f, -0.0f, kLeast, -kLeast, FLT_MIN, FLT_MAX, -FLT_MAX, kInf, -kInf, std::nanf("")});
  auto run = [&](const auto& operation) {
    const DeviceView d(*backend_, x.view(), {1, 0});
    operation(d.view());
    return d.host();
  };
  const Matrix doubled = run([&](View<float> v) { backend_->add(v, v); });
  for (int64_t j = 0; j < 9; ++j)
    EXPECT_EQ(doubled(0, j), x(0, j) + x(0, j)) << x(0, j);
  EXPECT_EQ(doubled(0, 2), 0x1p-148f) << "denormals are numbers";
  EXPECT_TRUE(std::signbit(doubled(0, 1)));
  EXPECT_EQ(doubled(0, 5), kInf);
  EXPECT_TRUE(std::isnan(doubled(0, 9)));
  const Matrix positive = run([&](View<float> v) { backend_->relu(v); });
  for (int64_t j = 0; j < 9; ++j)
    EXPECT_EQ(positive(0, j), x(0, j) > 0 ? x(0, j) : 0.0f) << x(0, j);
  EXPECT_TRUE(std::isnan(positive(0, 9))) << "a NaN must not be hidden";
  // silu(x) = x / (1 + exp(-x)) times 2: 0, 0, x, x (x / 2 and then doubled), x, ...; beyond the range of exp 2x and -0.
  const Matrix twos = row_of({2, 2, 2, 2, 2, 0.5, 0.5, 0.5, 0.5, 2});
  const Matrix gated = run([&](View<float> v) { backend_->silu_mul(v, twos.view(), v); });
  const float expected[] = {0.0f, 0.0f, 0.0f, 0.0f, FLT_MIN, FLT_MAX / 2, 0.0f, kInf};
  for (int64_t j = 0; j < 8; ++j)
    EXPECT_EQ(gated(0, j), expected[j]) << x(0, j);  // half of the least number rounds to the even 0
  EXPECT_TRUE(std::isnan(gated(0, 9)));
}

TEST_F(CudaForward, NormsOfRowsThatDoNotFitSharedMemory) {
  for (int64_t n : {8191, 8192, 8193, 10007}) {
    SCOPED_TRACE(testing::Message() << n << " columns, seed " << seed());
    Matrix x = normal_matrix(2, n, 48, 2.0);
    for (int64_t j = 0; j < n; ++j)
      x(1, j) += 500.0f;
    const std::vector<float> gain = normal_vector(n, 49), shift = normal_vector(n, 50);
    Matrix rms(2, n), layer(2, n);
    for (int64_t t = 0; t < 2; ++t) {
      double sq = 0, sum = 0, var = 0;
      for (int64_t j = 0; j < n; ++j) {
        sq += double{x(t, j)} * x(t, j);
        sum += x(t, j);
      }
      const double mean = sum / static_cast<double>(n);
      for (int64_t j = 0; j < n; ++j)
        var += (x(t, j) - mean) * (x(t, j) - mean);
      for (int64_t j = 0; j < n; ++j) {
        const auto c = static_cast<size_t>(j);
        rms(t, j) = static_cast<float>(x(t, j) / std::sqrt(sq / static_cast<double>(n) + 1e-5) * gain[c]);
        layer(t, j) =
            static_cast<float>((x(t, j) - mean) / std::sqrt(var / static_cast<double>(n) + 1e-5) * gain[c] + shift[c]);
      }
    }
    const DeviceView a(*backend_, x.view(), {1, 0}), b(*backend_, x.view(), {0, 3});
    backend_->rms_norm(a.view(), gain, 1e-5f, a.view());
    backend_->layer_norm(b.view(), gain, shift, 1e-5f, b.view());
    EXPECT_LT(nmse(rms.view(), a.host().view()), 1e-13);
    EXPECT_LT(nmse(layer.view(), b.host().view()), 1e-12);
    EXPECT_TRUE(a.margin_intact());
  }
}

// A constant row c: its RMS is |c|, its mean c and its variance 0.
TEST_F(CudaForward, NormsOfConstantRows) {
  for (int64_t n : {1, 31, 33, 300}) {
    for (float c : {3e38f, -3e38f, 1e30f, -7.0f, 1e-20f, kLeast, 0.0f}) {
      SCOPED_TRACE(testing::Message() << n << " times " << c);
      Matrix x(1, n);
      std::fill(x.data(), x.data() + n, c);
      const std::vector<float> gain(static_cast<size_t>(n), 3.0f), shift(static_cast<size_t>(n), 0.75f);
      Matrix y(1, n);
      backend_->rms_norm(x.view(), gain, 1e-6f, y.view());
      // eps as the float it is passed as
      const double expected = 3.0 * c / std::sqrt(double{c} * c + double{1e-6f});
      for (int64_t j = 0; j < n; ++j)
        EXPECT_NEAR(y(0, j), expected, 1e-6 * std::fabs(expected) + 1e-45);
      backend_->layer_norm(x.view(), gain, shift, 1e-6f, y.view());
      for (int64_t j = 0; j < n; ++j)
        EXPECT_EQ(y(0, j), 0.75f);
    }
  }
}

TEST_F(CudaForward, NormsKeepNan) {
  Matrix x = normal_matrix(3, 70, 51), y(3, 70);
  x(1, 69) = std::nanf("");
  const std::vector<float> ones(70, 1.0f);
  for (bool layer : {false, true}) {
    layer ? backend_->layer_norm(x.view(), ones, ones, 1e-5f, y.view()) : backend_->rms_norm(x.view(), ones, 1e-5f, y.view());
    for (int64_t j = 0; j < 70; ++j) {
      EXPECT_TRUE(std::isfinite(y(0, j)) && std::isfinite(y(2, j)));
      EXPECT_TRUE(std::isnan(y(1, j)));
    }
  }
}

// More frequencies than one launch takes, and positions far out.
TEST_F(CudaForward, RotaryOfLongHeadsAndFarPositions) {
  for (int head_dim : {4, 1022, 1024, 1026, 2050})
    for (int64_t first : {int64_t{0}, int64_t{131072}, int64_t{16000000}}) {
      SCOPED_TRACE(testing::Message() << "heads of " << head_dim << " from position " << first);
      RotaryTable table;
      table.head_dim = head_dim;
      table.attention_factor = 0.75f;
      const int64_t half = head_dim / 2;
      for (int64_t i = 0; i < half; ++i)
        table.inv_freq.push_back(1.0 / (1.0 + static_cast<double>(i) / 7));
      const Matrix x = normal_matrix(3, 2 * head_dim, 52);
      Matrix expected(3, 2 * head_dim);
      for (int64_t t = 0; t < 3; ++t)
        for (int64_t h = 0; h < 2; ++h)
          for (int64_t i = 0; i < half; ++i) {
            const double angle = static_cast<float>(first + t) * static_cast<float>(table.inv_freq[static_cast<size_t>(i)]);
            const int64_t a = h * head_dim + i, b = a + half;
            expected(t, a) = static_cast<float>(0.75 * (x(t, a) * std::cos(angle) - x(t, b) * std::sin(angle)));
            expected(t, b) = static_cast<float>(0.75 * (x(t, b) * std::cos(angle) + x(t, a) * std::sin(angle)));
          }
      const DeviceView d(*backend_, x.view(), {1, 3});
      backend_->rotary(d.view(), 2, table, first);
      EXPECT_LT(nmse(expected.view(), d.host().view()), 1e-13) << "seed " << seed();
      EXPECT_TRUE(d.margin_intact());
    }
}

TEST_F(CudaForward, EmptyMatricesAreLeftAlone) {
  Matrix none(0, 5), thin(5, 0);
  const std::vector<float> gain(5, 1.0f);
  backend_->add(none.view(), none.view());
  backend_->relu(thin.view());
  backend_->gelu(none.view());
  backend_->silu_mul(thin.view(), thin.view(), thin.view());
  backend_->rms_norm(none.view(), gain, 1e-5f, none.view());
  backend_->layer_norm(thin.view(), {}, {}, 1e-5f, thin.view());
  backend_->attention(none.view(), none.view(), none.view(), {1, 1, 5, 1.0f, 0}, none.view());
}

}  // namespace
}  // namespace sage::test
