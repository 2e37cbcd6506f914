// Grams and compensation on a device: views of device memory at odd places, and the two ways of subtract_outer.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/backend/memory.h"
#include "core/util/random.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"

namespace sage::test {
namespace {

Matrix hostile(int64_t rows, int64_t cols, uint64_t stream) {
  Matrix m(rows, cols);
  const float special[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 1.1e-38f, 3e38f, -3e38f, 1.0f};
  Rng rng(9, stream);
  for (int64_t i = 0; i < m.size(); ++i)
    m.data()[i] = rng.below(4) == 0 ? special[rng.below(8)] : static_cast<float>(rng.normal());
  return m;
}

class DeviceCalibration : public testing::Test {
 protected:
  // A copy in device memory: rows `cols + 3` apart, the first number 4 bytes behind the start of the block.
  View<float> on_device(const Matrix& m) {
    rooms_.emplace_back(*backend_, m.rows() + 1, m.cols() + 3);
    const View<float> inside = rooms_.back().view().row_range(0, m.rows()).columns(1, m.cols() + 1);
    copy(*backend_, m.view(), inside);
    return inside;
  }
  std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend();
  std::vector<BackendMatrix> rooms_;
};

TEST_F(DeviceCalibration, SubtractOuterGivesTheSameBitsInEitherMemory) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{1, 1}, {1, 257}, {255, 1}, {33, 65}, {3, 1025}}) {
    const Matrix u = hostile(1, rows, 1), e = hostile(1, cols, 2), x = hostile(rows, cols, 3);
    const std::span<const float> us(u.data(), static_cast<size_t>(rows)), es(e.data(), static_cast<size_t>(cols));
    Matrix host = Matrix::copy(x.view());
    backend_->subtract_outer(us, es, host.view());
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) {
        const volatile float product = us[static_cast<size_t>(i)] * es[static_cast<size_t>(j)];
        const float expected = x(i, j) - product;
        ASSERT_TRUE(host(i, j) == expected || (std::isnan(expected) && std::isnan(host(i, j)))) << i << "," << j;
      }
    const View<float> device = on_device(x);
    backend_->subtract_outer(us, es, device);
    EXPECT_EQ(std::memcmp(to_host(*backend_, device).data(), host.data(), sizeof(float) * static_cast<size_t>(x.size())), 0);
    Matrix again = Matrix::copy(x.view());  // factors on the device, the tile in host memory
    const View<float> ud = on_device(u);
    backend_->subtract_outer({ud.data, us.size()}, es, again.view());
    EXPECT_EQ(std::memcmp(again.data(), host.data(), sizeof(float) * static_cast<size_t>(x.size())), 0);
  }
}

TEST_F(DeviceCalibration, SubtractProductInDeviceMemory) {
  Rng rng(1, uint64_t{2});
  Matrix a(17, 9), b(9, 31), x(17, 31);
  for (Matrix* m : {&a, &b, &x})
    for (int64_t i = 0; i < m->size(); ++i)
      m->data()[i] = static_cast<float>(rng.below(9)) - 4;  // whole numbers: exact in any order
  const View<float> out = on_device(x);
  backend_->subtract_product(on_device(a), b.view(), out);
  const Matrix got = to_host(*backend_, out);
  for (int64_t i = 0; i < 17; ++i)
    for (int64_t j = 0; j < 31; ++j) {
      float expected = x(i, j);
      for (int64_t k = 0; k < 9; ++k)
        expected -= a(i, k) * b(k, j);
      ASSERT_EQ(got(i, j), expected);
    }
}

// Whole numbers again: 900 x 70 doubles are 504 KB, two slices.
TEST_F(DeviceCalibration, GramsInDeviceMemoryAndInSlices) {
  constexpr int64_t kTokens = 900, kWidth = 70;
  Rng rng(1, uint64_t{3});
  Matrix x(kTokens, kWidth);
  for (int64_t i = 0; i < x.size(); ++i)
    x.data()[i] = static_cast<float>(rng.below(9)) - 4;
  const Matrix nan = [] {
    Matrix m(kWidth, kWidth);
    std::fill(m.data(), m.data() + m.size(), std::nanf(""));
    return m;
  }();
  const View<float> input = on_device(x), gram = on_device(nan);
  const std::shared_ptr<void> memory = backend_->allocate(sizeof(double) * kWidth * (kWidth + 1));
  const View<double> wide(static_cast<double*>(memory.get()), kWidth, kWidth, kWidth + 1);
  const std::vector<double> nans(kWidth * kWidth, std::nan(""));
  copy<double>(*backend_, View<const double>(nans.data(), kWidth, kWidth), wide);
  backend_->gram_update(input, 0, 2, gram);
  backend_->gram_update(input, 0.5, 0.25, gram);
  backend_->restart_peak();
  const uint64_t before = backend_->device_memory().in_use;
  backend_->gram_update(input, 0, 2, wide);
  EXPECT_LE(backend_->device_memory().peak - before, cuda::kEmulatedSizes.slice_bytes);
  backend_->gram_update(input, 0.5, 0.25, wide);
  const Matrix single = to_host(*backend_, gram);
  std::vector<double> twice(kWidth * kWidth);
  copy<double>(*backend_, View<const double>(wide), View<double>(twice.data(), kWidth, kWidth));
  for (int64_t i = 0; i < kWidth; ++i)
    for (int64_t j = 0; j < kWidth; ++j) {
      const double got = twice[static_cast<size_t>(i * kWidth + j)];
      if (i > j) {
        ASSERT_TRUE(std::isnan(got) && std::isnan(single(i, j))) << "written below the diagonal";
        continue;
      }
      double sum = 0;
      for (int64_t t = 0; t < kTokens; ++t)
        sum += static_cast<double>(x(t, i)) * x(t, j);
      ASSERT_EQ(got, 1.25 * sum);
      ASSERT_EQ(single(i, j), 1.25 * sum);
    }
}

// No tokens: keep alone applies.
TEST_F(DeviceCalibration, GramsOfNothing) {
  std::vector<double> wide = {1, 2, 3, 4};
  Matrix gram(2, 2), none(0, 2);
  std::fill(gram.data(), gram.data() + 4, 8.0f);
  backend_->gram_update(none.view(), 0.5, 1, gram.view());
  backend_->gram_update(none.view(), 0.5, 1, View<double>(wide.data(), 2, 2));
  EXPECT_EQ(gram(0, 0), 4);
  EXPECT_EQ(gram(0, 1), 4);
  EXPECT_EQ(gram(1, 0), 8);
  EXPECT_EQ(wide, (std::vector<double>{0.5, 1, 3, 2}));
  std::fill(gram.data(), gram.data() + 4, std::nanf(""));
  backend_->gram_update(none.view(), 0, 1, gram.view());
  EXPECT_EQ(gram(1, 1), 0);
}

}  // namespace
}  // namespace sage::test
