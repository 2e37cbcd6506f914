// Shared by the kernel tests: the backends under test, test matrices, comparison, thread control.
#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/backend/backend.h"
#include "core/util/errors.h"
#include "core/util/random.h"
#include "kernels/backends.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/compiled/cuda_backend.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/emulated_api.h"
#include "kernels/cuda_on_cpu/executor/engine.h"

namespace sage::test {

// "reference", "cpu-VARIANT" for every variant this machine can run, the CUDA kernels executed on the CPU, and "cuda" on every
// machine: where no device answers, its tests are skipped with the reason.
inline std::vector<std::string> backend_names() {
  std::vector<std::string> out = {"reference"};
  for (const std::string& v : cpu_variants())
    out.push_back("cpu-" + v);
  out.push_back("cuda_on_cpu");
  out.push_back("cuda");
  return out;
}
// Those whose results might depend on the number of threads: the reference has one.
inline std::vector<std::string> threaded_backend_names() {
  std::vector<std::string> out = backend_names();
  std::erase(out, "reference");
  return out;
}
// SAGE_WITHOUT_CUBLAS=1: devices without cuBLAS, for the tests that need no product.
inline bool without_products() {
  const char* set = std::getenv("SAGE_WITHOUT_CUBLAS");
  return set != nullptr && std::string(set) == "1";
}
inline std::unique_ptr<Backend> backend(const std::string& name) {
  if (without_products() && name == "cuda") return make_cuda_backend_without_products();
  if (without_products() && name == "cuda_on_cpu")
    return std::make_unique<cuda::DeviceBackend>(cuda::make_emulated_api(false), cuda::emulated_kernels(),
                                                 cuda::Precision::kFloat32, cuda::kEmulatedSizes);
  if (name == "cuda_on_cpu") return make_cuda_on_cpu_backend();
  if (name == "reference" || name == "cuda") return make_backend(name);
  return make_cpu_backend(name.substr(4));
}
// Executes kernels thread by thread, about a thousand times slower than the others: large cases are cut down for it.
inline bool is_emulated(const std::string& name) { return name == "cuda_on_cpu"; }
inline std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string s = info.param;
  std::replace(s.begin(), s.end(), '-', '_');
  return s;
}

// Why the backend cannot be tested here; empty where it can.
inline std::string absence(const std::string& name) {
  if (name != "cuda") return "";
  static const BackendStatus status = without_products() ? cuda_status_without_products() : cuda_status();
  return status.available ? "" : "no device: " + status.detail;
}

// SAGE_TEST_SEED repeats a failure seen with another seed.
inline uint64_t seed() {
  const char* s = std::getenv("SAGE_TEST_SEED");
  return s == nullptr ? 20260605u : std::strtoull(s, nullptr, 10);
}

// Tests of every backend. SAGE_REQUIRE_CUDA=1 makes the absence of a device a failure.
class BackendTest : public testing::TestWithParam<std::string> {
 protected:
  BackendTest() : backend_(absence(GetParam()).empty() ? backend(GetParam()) : nullptr) {
    RecordProperty("seed", std::to_string(seed()));
  }
  void SetUp() override {
    const std::string reason = absence(GetParam());
    if (reason.empty()) return;
    if (const char* required = std::getenv("SAGE_REQUIRE_CUDA"); required != nullptr && std::string(required) == "1")
      FAIL() << reason << "; SAGE_REQUIRE_CUDA=1 asks for one";
    GTEST_SKIP() << reason;
  }
  std::unique_ptr<Backend> backend_;
};

class Threads {
 public:
  explicit Threads(int n) : before_(omp_get_max_threads()), workers_before_(kx::options().workers) {
    omp_set_num_threads(n);
    kx::options().workers = n;
  }
  ~Threads() {
    omp_set_num_threads(before_);
    kx::options().workers = workers_before_;
  }

 private:
  int before_, workers_before_;
};

// A view into a larger matrix whose other elements are NaN: a kernel that reads outside gives itself away.
class Padded {
 public:
  Padded(int64_t rows, int64_t cols, int64_t extra)
      : storage_(std::max<int64_t>(1, rows), cols + extra), rows_(rows), cols_(cols) {
    std::fill(storage_.data(), storage_.data() + storage_.size(), std::nanf(""));
  }
  View<float> view() { return {storage_.data() + offset(), rows_, cols_, storage_.cols()}; }
  WeightView view() const { return {storage_.data() + offset(), rows_, cols_, storage_.cols()}; }
  // True when nothing outside the view was written.
  bool margin_intact() const {
    for (int64_t i = 0; i < storage_.rows(); ++i)
      for (int64_t j = 0; j < storage_.cols(); ++j)
        if ((i >= rows_ || j < offset() || j >= offset() + cols_) && !std::isnan(storage_(i, j))) return false;
    return true;
  }

 private:
  int64_t offset() const { return storage_.cols() > cols_ ? 1 : 0; }
  Matrix storage_;
  int64_t rows_, cols_;
};

inline void fill_normal(View<float> v, uint64_t stream, double scale = 1.0) {
  Rng rng(seed(), stream);
  for (int64_t i = 0; i < v.rows; ++i)
    for (int64_t j = 0; j < v.cols; ++j)
      v(i, j) = static_cast<float>(rng.normal() * scale);
}
// Normal values with zeros of both signs, denormals, the smallest and very large magnitudes strewn in.
inline void fill_hostile(View<float> v, uint64_t stream) {
  fill_normal(v, stream);
  const float special[] = {0.0f, -0.0f, 1e-45f, -1e-45f, 1.1e-38f, -3e-39f, 1e18f, -1e18f, 1.0f, -1.0f};
  Rng rng(seed(), stream + 1000);
  for (int64_t i = 0; i < v.rows; ++i)
    for (int64_t j = 0; j < v.cols; ++j)
      if (rng.below(5) == 0) v(i, j) = special[rng.below(std::size(special))];
}
inline std::vector<float> normal_vector(int64_t n, uint64_t stream, double scale = 1.0) {
  std::vector<float> out(static_cast<size_t>(n));
  fill_normal({out.data(), 1, n}, stream, scale);
  return out;
}

// Sum of squared differences over sum of squares of the expected values.
inline double nmse(WeightView expected, WeightView got) {
  double error = 0, energy = 0;
  for (int64_t i = 0; i < expected.rows; ++i) {
    for (int64_t j = 0; j < expected.cols; ++j) {
      const double e = expected(i, j), d = got(i, j) - e;
      error += d * d;
      energy += e * e;
    }
  }
  return energy > 0 ? error / energy : error;
}

inline bool near(double a, double b, double relative) {
  return std::fabs(a - b) <= relative * std::max(std::fabs(a), std::fabs(b));
}

inline void expect_moments(const Moments& expected, const Moments& got) {
  EXPECT_EQ(expected.count, got.count);
  // Sums of both signs cancel, so their error is relative to the magnitudes that went in.
  EXPECT_NEAR(expected.sum, got.sum, 1e-12 * expected.abs_sum);
  EXPECT_TRUE(near(expected.abs_sum, got.abs_sum, 1e-12)) << expected.abs_sum << " " << got.abs_sum;
  EXPECT_TRUE(near(expected.sq_sum, got.sq_sum, 1e-12)) << expected.sq_sum << " " << got.sq_sum;
}
inline bool same_bits(const Moments& a, const Moments& b) {
  return a.count == b.count && a.sum == b.sum && a.abs_sum == b.abs_sum && a.sq_sum == b.sq_sum;
}

// Rows x cols with awkward sizes; the last ones are large enough for several tasks and threads.
struct Shape {
  int64_t rows, cols, extra;
};
inline std::vector<Shape> shapes() {
  return {{0, 5, 0},    {5, 0, 0},   {1, 1, 0},     {1, 1, 3},     {3, 15, 0},     {2, 16, 1},
          {7, 17, 2},   {5, 63, 0},  {4, 64, 7},    {9, 65, 0},    {11, 127, 5},   {3, 128, 0},
          {1, 1000, 0}, {129, 1, 0}, {37, 576, 64}, {300, 577, 3}, {1, 150001, 0}, {2, 70000, 9}};
}
// The same for one backend: where kernels are emulated, large ones are just large enough for several blocks.
inline std::vector<Shape> shapes(const std::string& backend_name) {
  std::vector<Shape> out = shapes();
  if (!is_emulated(backend_name)) return out;
  std::erase_if(out, [](const Shape& s) { return s.rows * s.cols > 10000; });
  out.insert(out.end(), {{130, 97, 3}, {1, 4501, 0}});
  return out;
}

// Multiples of 2^-6 up to 2: sums of a few thousand of them and of their squares are exact in any order.
inline Matrix exact_weights(int64_t rows, int64_t cols, uint64_t stream) {
  Matrix m(rows, cols);
  Rng rng(seed(), stream);
  for (int64_t i = 0; i < m.size(); ++i)
    m.data()[i] = (static_cast<float>(rng.below(257)) - 128.0f) / 64;
  return m;
}

}  // namespace sage::test
