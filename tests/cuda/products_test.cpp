// Linear layers in every precision: 16-bit rounding, overflow, and weights that are held, passed or on the device already.
#include <array>

#include "kernels/cuda/forward_kernels.h"
#include "kernels/cuda_on_cpu/executor/device_buffer.h"
#include "tests/cuda/device_view.h"

namespace sage::test {
namespace {

using cuda::Precision;
constexpr float kInf = std::numeric_limits<float>::infinity();

// Digits of the significand and the least exponent of a normal number, of numbers of each kind.
struct Kind {
  Precision precision;
  int digits, least_exponent;
  double largest;
};
constexpr std::array kKinds = {Kind{Precision::kFloat16, 11, -14, 65504}, Kind{Precision::kBfloat16, 8, -126, 0x1.fep127}};

// To nearest, ties to even, by arithmetic.
double rounded(double v, const Kind& kind) {
  if (v == 0 || !std::isfinite(v)) return v;
  const int exponent = std::max(std::ilogb(v), kind.least_exponent) - kind.digits + 1;
  const double r = std::ldexp(std::nearbyint(std::ldexp(v, -exponent)), exponent);
  return std::fabs(r) > kind.largest ? std::copysign(HUGE_VAL, v) : r;
}

struct Case {
  int64_t t, m, n;
};
constexpr std::array kCases = {Case{1, 1, 1},    Case{3, 5, 7},    Case{2, 4, 8},     Case{63, 65, 33},
                               Case{64, 64, 64}, Case{65, 63, 31}, Case{130, 9, 257}, Case{5, 3, 0}};

TEST(CudaProducts, SixteenBitModesMultiplyRoundedNumbers) {
  for (const Kind& kind : kKinds) {
    const std::unique_ptr<Backend> backend = make_cuda_on_cpu_backend(kind.precision);
    for (const Case& c : kCases)
      for (bool with_bias : {false, true}) {
        SCOPED_TRACE(testing::Message() << backend->name() << " " << c.t << " x " << c.m << " x " << c.n << " seed " << seed());
        const Matrix x = normal_matrix(c.t, c.n, 60, 30.0), w = normal_matrix(c.m, c.n, 61, 0.05);
        const std::vector<float> bias = with_bias ? normal_vector(c.m, 62) : std::vector<float>{};
        Matrix expected(c.t, c.m), y(c.t, c.m);
        for (int64_t t = 0; t < c.t; ++t)
          for (int64_t o = 0; o < c.m; ++o) {
            double sum = with_bias ? bias[static_cast<size_t>(o)] : 0.0;
            for (int64_t i = 0; i < c.n; ++i)
              sum += rounded(x(t, i), kind) * rounded(w(o, i), kind);
            expected(t, o) = static_cast<float>(sum);
          }
        backend->linear(x.view(), w.view(), bias, y.view());
        EXPECT_LT(nmse(expected.view(), y.view()), 1e-11);
      }
  }
}

// Values at which rounding is decided: ties, the subnormals of FP16, the largest numbers. One product each, so the result is
// exact.
TEST(CudaProducts, RoundingIsToNearestEven) {
  const Matrix values = row_of({1.0f,        1 + 0x1p-11f,    1 + 0x1.8p-10f, 1 + 0x1p-8f, 1 + 0x1.8p-7f, 0x1p-14f, 0x1p-24f,
                                0x1p-25f,    0x1.8p-25f,      0x1.004p-14f,   65504.0f,    65519.0f,      65520.0f, -70000.0f,
                                0x1.fep127f, 0x1.fffffep127f, 1e-40f,         0.0f,        kInf,          -kInf});
  for (const Kind& kind : kKinds) {
    const std::unique_ptr<Backend> backend = make_cuda_on_cpu_backend(kind.precision);
    const Matrix one = row_of({1.0f});
    Matrix y(values.cols(), 1);
    const WeightView column(values.data(), values.cols(), 1);
    backend->linear(column, one.view(), {}, y.view());
    for (int64_t i = 0; i < values.cols(); ++i)
      EXPECT_EQ(y(i, 0), static_cast<float>(rounded(values(0, i), kind))) << backend->name() << " " << values(0, i);
  }
}

// The packing of converted numbers: small integers survive exactly, so each must arrive at its place.
TEST(CudaProducts, ConversionsKeepTheirPlaces) {
  const cuda::ForwardKernels kernels = cuda::emulated_forward_kernels();
  for (cuda::Number number : {cuda::Number::kFloat16, cuda::Number::kBfloat16})
    for (int64_t rows : {1, 3})
      for (int64_t cols : {1, 3, 4, 5, 8, 17, 64, 66})
        for (const Placement& p : placements())
          for (int64_t out_offset : {0, 1, 2, 4}) {
            const int64_t ld = p.offset + cols + p.extra;
            std::vector<float> host(static_cast<size_t>(rows * ld), std::nanf(""));
            for (int64_t i = 0; i < rows; ++i)
              for (int64_t j = 0; j < cols; ++j)
                host[static_cast<size_t>(i * ld + p.offset + j)] = static_cast<float>(i * cols + j);
            const kx::DeviceBuffer<float> x(host);
            kx::DeviceBuffer<uint16_t> out(static_cast<size_t>(out_offset + rows * cols));
            ASSERT_EQ(kernels.convert(x.data() + p.offset, ld, rows, cols, number, out.data() + out_offset, nullptr), 0);
            for (int64_t i = 0; i < rows * cols; ++i) {
              // i = m 2^e with 1 <= m < 2: sign, biased exponent and leading bits of m, by hand.
              const int e = i > 0 ? std::ilogb(static_cast<double>(i)) : 0;
              const int digits = number == cuda::Number::kFloat16 ? 10 : 7, bias = number == cuda::Number::kFloat16 ? 15 : 127;
              const auto fraction =
                  static_cast<int64_t>(std::ldexp(static_cast<double>(i), digits - e)) - (int64_t{1} << digits);
              const int64_t bits = i == 0 ? 0 : (int64_t{e + bias} << digits) + fraction;
              ASSERT_EQ(out.data()[out_offset + i], bits)
                  << i << " of " << rows << " x " << cols << " at " << p.offset << "+" << p.extra << " onto " << out_offset;
            }
          }
}

TEST(CudaProducts, HeldPassedAndDeviceWeightsGiveTheSame) {
  for (Precision precision : {Precision::kFloat32, Precision::kFloat16, Precision::kBfloat16}) {
    const std::unique_ptr<Backend> backend = make_cuda_on_cpu_backend(precision);
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << backend->name() << " " << c.t << " x " << c.m << " x " << c.n << " seed " << seed());
      const Matrix x = normal_matrix(c.t, c.n, 63), w = normal_matrix(c.m, c.n, 64);
      const std::vector<float> bias = normal_vector(c.m, 65);
      Matrix expected(c.t, c.m);
      backend->linear(x.view(), w.view(), bias, expected.view());
      {
        const HeldMemory weights = hold(*backend, w.view()), shift = hold(*backend, bias);
        for (int round = 0; round < 2; ++round) {
          Matrix y(c.t, c.m);
          backend->linear(x.view(), w.view(), bias, y.view());
          EXPECT_TRUE(same_bits(expected, y)) << "held, round " << round;
        }
      }
      for (const Placement& p : placements()) {
        const DeviceView dx(*backend, x.view(), p), dw(*backend, w.view(), {p.extra, p.offset}),
            dy(*backend, expected.view(), p);
        backend->relu(dy.view());  // something else
        backend->linear(dx.view(), dw.view(), bias, dy.view());
        EXPECT_TRUE(same_bits(expected, dy.host())) << "on the device at " << p.offset << "+" << p.extra;
        EXPECT_TRUE(dy.margin_intact());
      }
    }
  }
}

// Held weights are converted once: the first product takes memory for the 16-bit copy, the second does not, and it goes with
// the hold.
TEST(CudaProducts, HeldWeightsAreConvertedOnce) {
  const std::unique_ptr<Backend> backend = make_cuda_on_cpu_backend(Precision::kBfloat16);
  const Matrix w = normal_matrix(100, 40, 66), x = normal_matrix(3, 40, 67);
  Matrix y(3, 100);
  const uint64_t before = backend->device_memory().in_use;
  {
    const HeldMemory held = hold(*backend, w.view());
    EXPECT_EQ(backend->device_memory().in_use - before, 4u * 100 * 40);
    for (int round = 0; round < 2; ++round) {
      backend->linear(x.view(), w.view(), {}, y.view());
      EXPECT_EQ(backend->device_memory().in_use - before, 6u * 100 * 40) << round;
    }
  }
  EXPECT_EQ(backend->device_memory().in_use, before);
}

// FP16 ends at 65504. An activation beyond it must make the loss infinite or NaN, not merely wrong; bfloat16 carries it.
TEST(CudaProducts, OverflowOfFloat16ReachesTheLoss) {
  const std::unique_ptr<Backend> reference = backend("reference");
  Matrix x = normal_matrix(4, 32, 68);
  x(2, 5) = 70000.0f;
  const Matrix w = normal_matrix(48, 32, 69), head = normal_matrix(11, 48, 70, 1e-4);
  const std::vector<int32_t> target = {1, 2, 3, 4};
  for (Precision precision : {Precision::kFloat32, Precision::kFloat16, Precision::kBfloat16}) {
    Matrix y(4, 48);
    make_cuda_on_cpu_backend(precision)->linear(x.view(), w.view(), {}, y.view());
    std::vector<double> nll(4);
    reference->head_nll(y.view(), head.view(), target, nll, {});
    for (size_t t = 0; t < 4; ++t)
      EXPECT_EQ(std::isfinite(nll[t]), !(precision == Precision::kFloat16 && t == 2))
          << static_cast<int>(precision) << " " << t;
  }
}

TEST(CudaProducts, NanAndInfinityKeepTheirMeaning) {
  Matrix x(3, 2);
  x(0, 0) = kInf, x(0, 1) = 1;
  x(1, 0) = std::nanf(""), x(1, 1) = 1;
  x(2, 0) = 3, x(2, 1) = 1;
  Matrix w(3, 2);
  w(0, 0) = 2, w(0, 1) = 1;
  w(1, 0) = -2, w(1, 1) = 1;
  w(2, 0) = 0, w(2, 1) = 1;
  for (Precision precision : {Precision::kFloat32, Precision::kFloat16, Precision::kBfloat16}) {
    Matrix y(3, 3);
    make_cuda_on_cpu_backend(precision)->linear(x.view(), w.view(), {}, y.view());
    EXPECT_EQ(y(0, 0), kInf);
    EXPECT_EQ(y(0, 1), -kInf);
    EXPECT_TRUE(std::isnan(y(0, 2)));  // infinity times 0
    for (int64_t o = 0; o < 3; ++o)
      EXPECT_TRUE(std::isnan(y(1, o)));
    EXPECT_EQ(y(2, 0), 7);
    EXPECT_EQ(y(2, 1), -5);
    EXPECT_EQ(y(2, 2), 1);
  }
}

}  // namespace
}  // namespace sage::test
