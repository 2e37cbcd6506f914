// Copies of held host memory: which views find them, how long they live, what their 16-bit versions hold.
#include "kernels/cuda/mirrors.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/backend/memory.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/emulated_api.h"
#include "tests/cuda/faulty_api.h"

namespace sage::test {
namespace {

// Every element differs.
Matrix numbered(int64_t rows, int64_t cols) {
  Matrix m(rows, cols);
  for (int64_t i = 0; i < m.size(); ++i)
    m.data()[i] = static_cast<float>(i);
  return m;
}

class MirrorsTest : public testing::Test {
 protected:
  explicit MirrorsTest(size_t pinned_bytes = 4096) : pinned_bytes_(pinned_bytes) {
    api_->create_stream(&compute_);
    memory_ = std::make_unique<cuda::DeviceMemory>(*api_, true);
    mirrors_ = std::make_unique<cuda::Mirrors>(*api_, *memory_, compute_, pinned_bytes_);
  }
  ~MirrorsTest() override {
    mirrors_.reset();
    EXPECT_EQ(memory_->use().in_use, 0u);
    memory_.reset();
    api_->destroy_stream(compute_);
    EXPECT_EQ(faults_->complaints(true), "");
  }
  void expect_found(WeightView v) {
    const WeightView m = mirrors_->find(v);
    ASSERT_NE(m.data, nullptr);
    ASSERT_TRUE(memory_->owns(m.data));
    ASSERT_EQ(m.rows, v.rows);
    ASSERT_EQ(m.cols, v.cols);
    for (int64_t i = 0; i < v.rows; ++i)
      for (int64_t j = 0; j < v.cols; ++j)
        ASSERT_EQ(m(i, j), v(i, j)) << i << "," << j;  // the emulated device's memory is the host's
  }

  const size_t pinned_bytes_;
  const std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
  const std::unique_ptr<cuda::Api> api_ = make_faulty_api(cuda::make_emulated_api(), faults_);
  cuda::Stream compute_ = nullptr;
  std::unique_ptr<cuda::DeviceMemory> memory_;
  std::unique_ptr<cuda::Mirrors> mirrors_;
};

TEST_F(MirrorsTest, FindsEveryPartOfWhatIsHeld) {
  const Matrix m = numbered(9, 12);
  const WeightView whole = m.view(), window = whole.row_range(2, 8).columns(3, 10);  // ld > cols
  for (const WeightView& held : {whole, window}) {
    const HeldMemory h = mirrors_->hold(held);
    expect_found(held);
    for (int64_t r0 = 0; r0 < held.rows; ++r0)
      for (int64_t r1 = r0 + 1; r1 <= held.rows; r1 += 2)
        for (int64_t c0 = 0; c0 < held.cols; c0 += 2)
          for (int64_t c1 = c0 + 1; c1 <= held.cols; c1 += 3)
            expect_found(held.row_range(r0, r1).columns(c0, c1));
  }
}

TEST_F(MirrorsTest, FindsNothingElse) {
  const Matrix m = numbered(9, 12);
  const WeightView whole = m.view(), window = whole.row_range(2, 8).columns(3, 10);
  const HeldMemory h = mirrors_->hold(window);
  EXPECT_EQ(mirrors_->find(whole).data, nullptr);
  EXPECT_EQ(mirrors_->find(whole.row_range(2, 8).columns(2, 10)).data, nullptr);   // a column before it
  EXPECT_EQ(mirrors_->find(whole.row_range(2, 8).columns(3, 11)).data, nullptr);   // a column after it
  EXPECT_EQ(mirrors_->find(whole.row_range(2, 9).columns(3, 10)).data, nullptr);   // a row after it
  EXPECT_EQ(mirrors_->find(whole.row_range(1, 3).columns(3, 10)).data, nullptr);   // a row before it
  EXPECT_EQ(mirrors_->find(whole.row_range(3, 4).columns(10, 12)).data, nullptr);  // between its rows
  EXPECT_EQ(mirrors_->find({whole.row(2) + 3, 2, 3, 11}).data, nullptr);           // rows at another distance
  EXPECT_EQ(mirrors_->find({whole.row(3) + 9, 1, 3, 12}).data, nullptr);           // over the end of a row
  const auto* shifted = reinterpret_cast<const float*>(reinterpret_cast<const char*>(whole.row(3) + 4) + 2);
  EXPECT_EQ(mirrors_->find({shifted, 1, 2, 12}).data, nullptr);
}

TEST_F(MirrorsTest, ASingleRow) {
  const Matrix m = numbered(1, 100);
  const HeldMemory h = mirrors_->hold(m.view());
  expect_found(m.view().columns(40, 100));
  expect_found({m.data() + 7, 1, 5, 3});  // the distance of rows means nothing
  EXPECT_EQ(mirrors_->find({m.data() + 98, 1, 3, 3}).data, nullptr);
  EXPECT_EQ(mirrors_->find({m.data(), 2, 3, 3}).data, nullptr);
}

TEST_F(MirrorsTest, NothingIsHeldOfNothingOrOfTheDevice) {
  EXPECT_EQ(mirrors_->hold({}), nullptr);
  auto* block = static_cast<float*>(memory_->take(400, compute_, "test"));
  EXPECT_EQ(mirrors_->hold({block, 10, 10}), nullptr);
  memory_->give(block, compute_);
}

TEST_F(MirrorsTest, LivesUntilTheLastHoldEnds) {
  const Matrix m = numbered(5, 6);
  HeldMemory first = mirrors_->hold(m.view()), second = mirrors_->hold(m.view()), copy = first;
  const uint64_t both = memory_->use().in_use;
  first.reset();
  EXPECT_EQ(memory_->use().in_use, both);
  copy.reset();  // the first mirror ends
  EXPECT_EQ(memory_->use().in_use, both / 2);
  expect_found(m.view());
  second.reset();
  EXPECT_EQ(memory_->use().in_use, 0u);
  EXPECT_EQ(mirrors_->find(m.view()).data, nullptr);
}

TEST_F(MirrorsTest, AHoldThatEndsUnused) {
  const Matrix m = numbered(50, 60);
  for (int i = 0; i < 3; ++i)
    mirrors_->hold(m.view());
  EXPECT_EQ(memory_->use().in_use, 0u);
}

class SmallBuffers : public MirrorsTest, public testing::WithParamInterface<size_t> {
 protected:
  SmallBuffers() : MirrorsTest(GetParam()) {}
};
INSTANTIATE_TEST_SUITE_P(Bytes, SmallBuffers, testing::Values(4, 12, 64, 100, 4096));

// Rows that fit several times into a pinned buffer, just, or not at all, the last piece ragged.
TEST_P(SmallBuffers, TakeMatricesOfAnySize) {
  for (int64_t rows : {1, 2, 7})
    for (int64_t cols : {1, 3, 15, 16, 17, 33, 1030}) {
      const Matrix m = numbered(rows, cols + 2);
      const WeightView v = m.view().columns(1, cols + 1);
      const HeldMemory h = mirrors_->hold(v);
      expect_found(v);
    }
}

// A conversion that can be seen: the 16-bit pattern of element x is x + added.
struct Convert {
  int added = 0;
  int* calls = nullptr;
  void operator()(WeightView from, void* to) const {
    ++*calls;
    for (int64_t i = 0; i < from.size(); ++i)
      static_cast<uint16_t*>(to)[i] = static_cast<uint16_t>(from.data[i] + static_cast<float>(added));
  }
};

TEST_F(MirrorsTest, ConvertsOnceAndFindsParts) {
  const Matrix m = numbered(9, 12);
  const WeightView window = m.view().row_range(2, 8).columns(3, 10);
  HeldMemory h = mirrors_->hold(window);
  int calls = 0;
  const Convert half{100, &calls}, brain{500, &calls};
  const auto expect_converted = [&](WeightView v, cuda::Number number, const Convert& convert) {
    const auto c = mirrors_->find_converted(v, number, convert);
    ASSERT_NE(c.data, nullptr);
    ASSERT_EQ(c.ld, 7);
    for (int64_t i = 0; i < v.rows; ++i)
      for (int64_t j = 0; j < v.cols; ++j)
        ASSERT_EQ(static_cast<const uint16_t*>(c.data)[i * c.ld + j], v(i, j) + static_cast<float>(convert.added));
  };
  expect_converted(window.row_range(4, 6), cuda::Number::kFloat16, half);
  expect_converted(window, cuda::Number::kFloat16, half);
  expect_converted(window.columns(2, 5).row_range(1, 3), cuda::Number::kFloat16, half);
  EXPECT_EQ(calls, 1);
  expect_converted(window, cuda::Number::kBfloat16, brain);
  expect_converted(window.row_range(1, 2), cuda::Number::kBfloat16, brain);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(mirrors_->find_converted(m.view(), cuda::Number::kFloat16, half).data, nullptr);
  EXPECT_EQ(calls, 2);
  h.reset();
  EXPECT_EQ(memory_->use().in_use, 0u);
}

TEST_F(MirrorsTest, AFailedConversionIsNotKept) {
  const Matrix m = numbered(3, 4);
  const HeldMemory h = mirrors_->hold(m.view());
  const uint64_t before = memory_->use().in_use;
  EXPECT_THROW(mirrors_->find_converted(m.view(), cuda::Number::kFloat16,
                                        [](WeightView, void*) { throw std::runtime_error("planted"); }),
               std::runtime_error);
  EXPECT_EQ(memory_->use().in_use, before);
  int calls = 0;
  const auto c = mirrors_->find_converted(m.view(), cuda::Number::kFloat16, Convert{1, &calls});
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(static_cast<const uint16_t*>(c.data)[11], 12);
}

// One thread holds and lets go of matrices while another computes with them and with others.
TEST(Mirrors, HoldsBesideOperations) {
  const std::unique_ptr<Backend> backend = make_cuda_on_cpu_backend();
  const Matrix a = numbered(20, 30), b = numbered(40, 8);
  const HeldMemory held = hold(*backend, a.view());
  std::atomic<bool> stop = false;
  std::atomic<int> rounds = 0;
  std::thread other([&] {
    while (!stop) {
      const HeldMemory one = hold(*backend, b.view()), two = hold(*backend, a.view());
      ++rounds;
    }
  });
  for (int round = 0; round < 50 || rounds < 50; ++round) {
    Matrix x = Matrix::zeros(20, 30), y = Matrix::zeros(40, 8);
    backend->add(x.view(), a.view());
    backend->add(y.view(), b.view());
    EXPECT_EQ(std::memcmp(x.data(), a.data(), sizeof(float) * 600), 0);
    EXPECT_EQ(std::memcmp(y.data(), b.data(), sizeof(float) * 320), 0);
  }
  stop = true;
  other.join();
}

}  // namespace
}  // namespace sage::test
