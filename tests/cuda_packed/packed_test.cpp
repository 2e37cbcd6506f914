// Products with packed matrices against double loops over the weights they were made of.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/util/errors.h"
#include "kernels/cuda_on_cpu/executor/device_buffer.h"
#include "tests/cuda_packed/support.h"
#include "tests/support/expect_error.h"

namespace sage {
namespace {

using cuda::Activations;
using cuda::Gemv;
using cuda::PackedMatrix;
using cuda::PackedPlanes;
using test::device;
using test::Dot;
using test::Kind;
using test::Made;

struct Size {
  int64_t rows, cols;
};
// Around a word, a 16-byte load, the 16 rows of a tile, the 512 columns of two tensor-core steps and the 4096 staged ones.
const Size kSizes[] = {{1, 1},    {1, 31},  {2, 32},  {3, 33},   {15, 127}, {16, 128}, {17, 129},
                       {33, 511}, {8, 512}, {5, 513}, {65, 200}, {1, 4096}, {2, 4097}, {4, 5000}};

std::vector<Kind> kinds() {
  std::vector<Kind> out;
  for (const int k : {1, 2, 3, 4, 5, 8})
    for (const double salient : {0.0, 0.05})
      out.push_back({.groups = k, .salient = salient});
  out.push_back({.groups = 1, .salient = 0.1, .whole_columns = true});
  out.push_back({.groups = 1, .shifts = true});
  out.push_back({.groups = 2, .salient = 0.05, .shifts = true});
  out.push_back({.groups = 8, .salient = 0.05, .shifts = true, .rows_differ = true});
  out.push_back({.groups = 1, .salient = 0.05, .rows_differ = true});
  out.push_back({.groups = 1, .salient = 0.05, .rows_differ = true, .block_columns = 128});
  out.push_back({.groups = 1, .block_columns = 32});
  out.push_back({.groups = 4, .salient = 0.05, .rows_differ = true, .block_columns = 64});
  out.push_back({.groups = 3, .salient = 0.05, .shifts = true, .block_columns = 256});
  out.push_back({.groups = 1, .salient = 0.05, .rows_differ = true, .column_scale = true});
  out.push_back({.groups = 4, .salient = 0.05, .factors = true});
  out.push_back({.groups = 2, .salient = 0.05, .column_scale = true, .factors = true, .symbol_bits = 8});
  return out;
}

std::vector<Gemv> kernels_for(const Kind& kind, int64_t cols) {
  std::vector<Gemv> out = {Gemv::kSignFlip};
  const bool one_block = kind.block_columns == 0 || kind.block_columns >= cols;
  if (one_block || kind.block_columns % 128 == 0) out.push_back(Gemv::kPopc);
  if (one_block) out.push_back(Gemv::kTensorCore);
  return out;
}

class Packed : public testing::TestWithParam<Kind> {};

TEST_P(Packed, DecodesToTheWeightsItWasMadeOf) {
  for (const Size& s : kSizes) {
    SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.cols));
    const Made m = test::make(s.rows, s.cols, GetParam());
    Matrix out(s.rows, s.cols + 3);
    std::fill(out.data(), out.data() + out.size(), std::nanf(""));
    PackedMatrix(device(), m.planes).decode(out.view().columns(1, 1 + s.cols));
    for (int64_t i = 0; i < s.rows; ++i) {
      for (int64_t j = 0; j < s.cols; ++j)
        ASSERT_EQ(m.weights(i, j), out(i, 1 + j)) << i << " " << j;
      EXPECT_TRUE(std::isnan(out(i, 0)) && std::isnan(out(i, s.cols + 1)));
    }
  }
}

// Every sum is a number FP32 holds (support.h), so all kernels must give what integers give, to the bit.
TEST_P(Packed, MultipliesIntegersExactlyByEveryKernel) {
  for (const Size& s : kSizes) {
    SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.cols));
    const Made m = test::make(s.rows, s.cols, GetParam());
    const PackedMatrix w(device(), m.planes);
    const Matrix x = test::integers(1, s.cols);
    // int8 planes hold x column_factor column_scale; with factors the largest of them is no power of two times 127.
    const bool scaled = GetParam().factors || GetParam().column_scale;
    for (const Gemv kernel : kernels_for(GetParam(), s.cols)) {
      if (scaled && kernel != Gemv::kSignFlip) continue;
      Matrix y(1, s.rows);
      w.multiply(x.view(), y.view(), kernel);
      for (int64_t i = 0; i < s.rows; ++i)
        ASSERT_EQ(test::dot(m.weights.view(), i, x.view(), 0).value, y(0, i))
            << "kernel " << static_cast<int>(kernel) << " row " << i;
    }
  }
}

TEST_P(Packed, Int8ActivationsAreWithinHalfAStep) {
  for (const Size& s : kSizes) {
    SCOPED_TRACE(std::to_string(s.rows) + " x " + std::to_string(s.cols));
    const Made m = test::make(s.rows, s.cols, GetParam());
    const PackedMatrix w(device(), m.planes);
    const Matrix x = test::normals(1, s.cols);
    const auto factor = [](const std::vector<float>& f, int64_t j) { return f.empty() ? 1.0 : f[static_cast<size_t>(j)]; };
    double largest = 0;
    for (int64_t j = 0; j < s.cols; ++j)
      largest = std::max(largest, std::fabs(x(0, j)) * factor(m.planes.column_factor, j) * factor(m.planes.column_scale, j));
    std::vector<std::vector<float>> results;
    for (const Gemv kernel : kernels_for(GetParam(), s.cols)) {
      Matrix y(1, s.rows);
      w.multiply(x.view(), y.view(), kernel);
      for (int64_t i = 0; i < s.rows; ++i) {
        double held = 0;
        for (int64_t j = 0; j < s.cols; ++j)
          held += std::fabs(m.held(i, j)) / (factor(m.planes.column_factor, j) * factor(m.planes.column_scale, j));
        const Dot expected = test::dot(m.weights.view(), i, x.view(), 0);
        const double slack = test::rounding(expected.magnitude + held * largest * (1 << m.planes.id_planes), s.cols);
        const double bound = kernel == Gemv::kSignFlip ? slack : 0.5 * largest / 127.0 * held + slack;
        ASSERT_NEAR(expected.value, y(0, i), bound) << "kernel " << static_cast<int>(kernel) << " row " << i;
      }
      results.emplace_back(y.data(), y.data() + y.size());
    }
    if (results.size() == 3) {
      EXPECT_EQ(results[1], results[2]);  // one arithmetic, to the bit
    }
  }
}

TEST_P(Packed, PanelsMultiplyManyVectors) {
  const Made m = test::make(37, 200, GetParam());
  const PackedMatrix w(device(), m.planes, {.panel_weights = 5 * 200});  // 7 panels of 5 rows and one of 2
  for (const int64_t vectors :
       {int64_t{2}, PackedMatrix::kPanelVectors - 1, PackedMatrix::kPanelVectors, PackedMatrix::kPanelVectors + 5}) {
    const Matrix x = test::integers(vectors, 200);
    Matrix y(vectors, 37);
    w.multiply(x.view(), y.view());
    for (int64_t t = 0; t < vectors; ++t)
      for (int64_t i = 0; i < 37; ++i)
        ASSERT_EQ(test::dot(m.weights.view(), i, x.view(), t).value, y(t, i)) << vectors << " vectors";
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Packed, testing::ValuesIn(kinds()), [](const auto& info) { return info.param.name(); });

TEST(PackedMatrix, TakesViewsOfDeviceMemoryAtAnyOffset) {
  const Made m = test::make(19, 131, {.groups = 2, .salient = 0.05});
  const PackedMatrix w(device(), m.planes);
  const Matrix x = test::integers(3, 131);
  for (const int64_t offset : {0, 1, 2, 3}) {
    const BackendMatrix from(device(), 3, 140), to(device(), 3, 29);
    const View<float> xs = from.view().columns(offset, offset + 131), ys = to.view().columns(offset, offset + 19);
    copy<float>(device(), x.view(), xs);
    for (const Gemv kernel : {Gemv::kSignFlip, Gemv::kPopc, Gemv::kTensorCore}) {
      w.multiply(xs, ys, kernel);
      const Matrix y = to_host(device(), to.view());
      for (int64_t t = 0; t < 3; ++t) {
        for (int64_t i = 0; i < 19; ++i)
          ASSERT_EQ(test::dot(m.weights.view(), i, x.view(), t).value, y(t, offset + i));
        EXPECT_TRUE(std::isnan(y(t, offset + 19)));
      }
    }
  }
}

TEST(PackedMatrix, SegmentsFollowOneAnotherInTheFile) {
  // Two matrices side by side: the symbols of one after those of the other, a mask of both, the second without ids.
  const Made a = test::make(9, 64, {.groups = 4, .salient = 0.1}, 5), b = test::make(9, 50, {.groups = 1, .salient = 0.1}, 6);
  PackedPlanes p = a.planes;
  p.cols = 114;
  p.segments = {{0, 64, true}, {64, 50, false}};
  p.block_columns = 64;
  p.scales = {a.planes.scales[0], a.planes.scales[1], a.planes.scales[2], a.planes.scales[3], b.planes.scales[0], 0, 0, 0};
  p.signs.width = 8;
  p.signs.bytes.clear();
  p.salient_bits.assign((9 * 128 + 7) / 8, std::byte{0});
  p.salient_pitch = 128;
  p.salient_values.clear();
  const auto bit = [](const std::vector<std::byte>& v, int64_t k) {
    return v[static_cast<size_t>(k / 8)] >> (k % 8) & std::byte{1};
  };
  std::vector<size_t> next = {0, 0};
  for (int64_t i = 0; i < 9; ++i)
    for (int64_t j = 0; j < 114; ++j) {
      const Made& part = j < 64 ? a : b;
      const int64_t k = i * part.planes.salient_pitch + (j < 64 ? j : j - 64);
      if (bit(part.planes.salient_bits, k) == std::byte{0}) continue;
      p.salient_bits[static_cast<size_t>((128 * i + j) / 8)] |= std::byte{1} << (j % 8);
      p.salient_values.push_back(part.planes.salient_values[next[j < 64 ? 0 : 1]++]);
    }
  for (const Made* part : {&a, &b})
    for (size_t k = 0; k < static_cast<size_t>(part->weights.size()) - part->planes.salient_values.size(); ++k)
      p.signs.bytes.push_back(bit(part->planes.signs.bytes, static_cast<int64_t>(k)));
  const PackedMatrix w(device(), p);
  Matrix out(9, 114);
  w.decode(out.view());
  for (int64_t i = 0; i < 9; ++i)
    for (int64_t j = 0; j < 114; ++j)
      ASSERT_EQ(j < 64 ? a.weights(i, j) : b.weights(i, j - 64), out(i, j)) << i << " " << j;
}

TEST(PackedMatrix, HalfSalientValuesAreRoundedOnce) {
  Made m = test::make(6, 70, {.groups = 2, .salient = 0.3});
  for (float& v : m.planes.salient_values)
    v *= 1.0f + 0x1p-13f;  // more bits than FP16 has
  Matrix exact(6, 70), half(6, 70);
  const PackedMatrix wide(device(), m.planes), narrow(device(), m.planes, {.salient = cuda::SalientNumbers::kHalf});
  wide.decode(exact.view());
  narrow.decode(half.view());
  EXPECT_EQ(wide.device_bytes() - narrow.device_bytes(), 2 * std::ssize(m.planes.salient_values));
  int changed = 0;
  for (int64_t k = 0; k < exact.size(); ++k) {
    EXPECT_LE(std::fabs(exact.data()[k] - half.data()[k]), 0x1p-11 * std::fabs(exact.data()[k]));
    EXPECT_EQ(half.data()[k], m.weights.data()[k]);  // which is the nearest number of FP16
    changed += exact.data()[k] != half.data()[k];
  }
  EXPECT_GT(changed, 50);
}

TEST(PackedMatrix, SaysWhatItTakes) {
  // 4 groups are 2 planes; 600 columns are padded to 640.
  const Made m = test::make(10, 600, {.groups = 4, .salient = 0.05});
  const auto salient = std::ssize(m.planes.salient_values);
  EXPECT_EQ(PackedMatrix(device(), m.planes).device_bytes(), 10 * 3 * 640 / 8 + 4 * 2 + 11 * 8 + salient * (2 + 4));
}

TEST(PackedMatrix, ColumnsBeyond16BitsAreFound) {
  const Made m = test::make(1, 66000, {.groups = 1, .salient = 0.01});
  Matrix out(1, 66000);
  PackedMatrix(device(), m.planes).decode(out.view());
  for (int64_t j = 0; j < 66000; ++j)
    ASSERT_EQ(m.weights(0, j), out(0, j)) << j;
}

TEST(PackedMatrix, RefusesPlanesThatDoNotFit) {
  const Made good = test::make(8, 40, {.groups = 2, .salient = 0.1});
  const auto refused = [&](auto damage, const std::vector<std::string>& words) {
    PackedPlanes p = good.planes;
    damage(p);
    test::expect_words(test::message_of<RunError>([&] { PackedMatrix(device(), p); }), words);
  };
  refused([](PackedPlanes& p) { p.signs.bytes.resize(3); }, {"24 bits of signs"});
  refused([](PackedPlanes& p) { p.ids.bytes.clear(); }, {"0 bits of ids"});
  refused([](PackedPlanes& p) { p.salient_values.pop_back(); }, {"salient values"});
  refused([](PackedPlanes& p) { p.scales.push_back(1); }, {"3 scales; expected 2"});
  refused([](PackedPlanes& p) { p.groups = 3; }, {"3 groups; expected 2"});
  refused([](PackedPlanes& p) { p.segments[0].count = 32; }, {"32 columns in segments; expected 40"});
  refused([](PackedPlanes& p) { p.salient_bits.resize(2); }, {"salient bits"});
  refused([](PackedPlanes& p) { p.block_columns = 20; }, {"20 columns in a block"});
  const PackedMatrix w(device(), good.planes);
  Matrix x(1, 41), y(1, 8);
  test::expect_words(test::message_of<Error>([&] { w.multiply(x.view(), y.view()); }), {"packed matrix: multiply"});
  const PackedMatrix blocks(device(), test::make(8, 128, {.groups = 1, .block_columns = 32}).planes);
  Matrix wide(1, 128);
  test::expect_words(test::message_of<Error>([&] { blocks.multiply(wide.view(), y.view(), Gemv::kPopc); }), {"popc", "128"});
  test::expect_words(test::message_of<Error>([&] { blocks.multiply(wide.view(), y.view(), Gemv::kTensorCore); }),
                     {"one block"});
}

TEST(PackedMatrix, ChoosesTheKernelByDeviceAndShape) {
  const auto kernel = [](int major, int minor, int64_t rows, int64_t block) {
    return cuda::choose_gemv(major, minor, rows, 4096, block).kernel;
  };
  for (const auto& [major, minor] : {std::pair(8, 0), std::pair(8, 6), std::pair(8, 9), std::pair(9, 0)}) {
    EXPECT_EQ(kernel(major, minor, 4096, 0), Gemv::kTensorCore);
    EXPECT_EQ(kernel(major, minor, 16, 0), Gemv::kTensorCore);
    EXPECT_EQ(kernel(major, minor, 15, 0), Gemv::kPopc);
    EXPECT_EQ(kernel(major, minor, 4096, 128), Gemv::kPopc);
    EXPECT_EQ(kernel(major, minor, 4096, 32), Gemv::kSignFlip);
  }
  EXPECT_EQ(kernel(10, 0, 4096, 0), Gemv::kPopc);
  EXPECT_EQ(kernel(12, 0, 4096, 0), Gemv::kPopc);
  EXPECT_NE(std::string(cuda::choose_gemv(10, 0, 4096, 4096, 0).why), "");
  // The executor says it is an sm_80.
  const Made m = test::make(32, 256, {.groups = 2});
  const Matrix x = test::normals(1, 256);
  const PackedMatrix w(device(), m.planes);
  Matrix chosen(1, 32), named(1, 32), floats(1, 32);
  w.multiply(x.view(), chosen.view(), Activations::kInt8);
  w.multiply(x.view(), named.view(), Gemv::kTensorCore);
  w.multiply(x.view(), floats.view());
  EXPECT_EQ(std::memcmp(chosen.data(), named.data(), 32 * sizeof(float)), 0);
  EXPECT_NE(std::memcmp(chosen.data(), floats.data(), 32 * sizeof(float)), 0);
}

TEST(PackedActivations, AreRoundedToNearestAndSlicedIntoBits) {
  const cuda::PackedKernels kernels = cuda::emulated_packed_kernels();
  for (const int64_t n : {1, 31, 33, 128, 129, 1000}) {
    for (const char* kind : {"normal", "hostile", "zeros", "denormal", "largest"}) {
      SCOPED_TRACE(std::string(kind) + " " + std::to_string(n));
      Matrix x = test::normals(1, n);
      Rng rng(7, kind);
      for (int64_t j = 0; j < n; ++j) {
        const std::string k = kind;
        if (k == "hostile" && rng.below(3) == 0)
          x(0, j) = std::vector<float>{0.0f, -0.0f, 1e-45f, -3e-39f, 1e18f, 65504.0f}[rng.below(6)];
        if (k == "zeros") x(0, j) = rng.below(2) == 1 ? 0.0f : -0.0f;
        if (k == "denormal") x(0, j) = static_cast<float>(rng.below(400)) * 1e-45f;
        if (k == "largest") x(0, j) = rng.below(2) == 1 ? std::numeric_limits<float>::max() : -1.0f;
      }
      const int64_t words = (n + 127) / 128 * 4;
      const kx::DeviceBuffer<float> from(std::vector<float>(x.data(), x.data() + n));
      kx::DeviceBuffer<uint32_t> planes(static_cast<size_t>(8 * words));
      kx::DeviceBuffer<int32_t> sums(static_cast<size_t>(words / 4));
      kx::DeviceBuffer<float> step(1);
      ASSERT_EQ(kernels.quantize_activations(from.data(), n, words, {planes.data(), sums.data(), step.data()}, nullptr), 0);
      float largest = 0;
      for (int64_t j = 0; j < n; ++j)
        largest = std::max(largest, std::fabs(x(0, j)));
      const double s = *step.data();
      EXPECT_EQ(*step.data(), largest / 127.0f);
      for (int64_t q = 0; q < words / 4; ++q) {
        int sum = 0;
        for (int64_t j = 128 * q; j < 128 * (q + 1); ++j) {
          unsigned bits = 0;
          for (int64_t b = 0; b < 8; ++b)
            bits |= (planes.data()[b * words + j / 32] >> (j % 32) & 1u) << b;
          const int value = static_cast<int8_t>(bits);
          sum += value;
          ASSERT_GE(value, -127);
          if (j >= n) {
            ASSERT_EQ(value, 0);
          } else if (s > 0 && s > 1e-38) {
            ASSERT_LE(std::fabs(x(0, j) - s * value), 0.5 * s * (1 + 1e-4)) << j;
          } else {
            ASSERT_LE(std::fabs(x(0, j) - s * value), std::max(127 * 1.5e-45, 0.51 * static_cast<double>(largest))) << j;
          }
        }
        EXPECT_EQ(sum, sums.data()[q]);
      }
    }
  }
}

}  // namespace
}  // namespace sage
