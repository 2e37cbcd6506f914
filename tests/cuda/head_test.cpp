// The output head on a device: hostile logits straight into the kernels, views of device memory, slices, and how much memory
// there ever is.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/backend/memory.h"
#include "core/util/half.h"
#include "core/util/random.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/executor/device_buffer.h"

namespace sage::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kMax = std::numeric_limits<float>::max();

struct Likelihood {
  double log_sum, nll;
  int32_t top;
};
// One row of logits through scan and finish, in slices of `slice` tokens.
Likelihood scan(const std::vector<float>& logits, int32_t target, int64_t slice) {
  const cuda::HeadKernels k = cuda::emulated_kernels().head;
  kx::DeviceBuffer<cuda::SoftmaxState> state(1);
  kx::DeviceBuffer<float> wanted(1);
  kx::DeviceBuffer<double> nll(1);
  kx::DeviceBuffer<int32_t> id(std::vector<int32_t>{target}), top(1);
  const auto tokens = static_cast<int64_t>(logits.size());
  for (int64_t v = 0; v < tokens; v += slice) {
    const int64_t n = std::min(slice, tokens - v);
    const kx::DeviceBuffer<float> part(std::vector<float>(logits.begin() + v, logits.begin() + v + n));
    EXPECT_EQ(k.scan(part.data(), 1, n, v, id.data(), state.data(), wanted.data(), nullptr), 0);
  }
  EXPECT_EQ(k.finish(state.data(), wanted.data(), id.data(), nullptr, 1, nll.data(), top.data(), nullptr), 0);
  const cuda::SoftmaxState s = state.download()[0];
  return {s.largest + std::log(s.sum), nll.download()[0], top.download()[0]};
}

double log_sum_exp(const std::vector<float>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float l : logits)
    sum += std::exp(l - largest);
  return largest + std::log(sum);
}

constexpr int64_t kTokenCounts[] = {1, 31, 255, 256, 257, 2047, 2048, 2049, 5000};
constexpr int64_t kSlices[] = {1 << 20, 2048, 300};

TEST(HeadKernels, RisingAndFallingLogits) {
  for (int64_t tokens : kTokenCounts)
    for (int64_t slice : kSlices)
      for (double sign : {1.0, -1.0}) {  // the largest logit in the last slice, or in the first
        std::vector<float> l;
        for (int64_t j = 0; j < tokens; ++j)
          l.push_back(static_cast<float>(sign * 0.37 * static_cast<double>(j)));
        const auto target = static_cast<int32_t>(tokens / 3);
        const Likelihood got = scan(l, target, slice);
        const double expected = log_sum_exp(l);
        EXPECT_NEAR(got.log_sum, expected, 1e-6) << tokens << " " << slice;
        EXPECT_NEAR(got.nll, expected - l[static_cast<size_t>(target)], 1e-6);
        EXPECT_EQ(got.top, sign > 0 ? tokens - 1 : 0);
      }
}

TEST(HeadKernels, TheLowestOfEqualTokensIsTheTop) {
  for (int64_t tokens : {300, 2500})
    for (int64_t slice : kSlices)
      for (const auto& [first, second] : {std::pair<int64_t, int64_t>{7, 8}, {31, 32}, {3, 259}, {255, 256}, {100, 299}}) {
        for (const auto& [a, b] : {std::pair<float, float>{5, 5}, {0.0f, -0.0f}, {-0.0f, 0.0f}, {kInf, kInf}}) {
          std::vector<float> l(static_cast<size_t>(tokens), -1.0f);
          l[static_cast<size_t>(first)] = a;
          l[static_cast<size_t>(second)] = b;
          EXPECT_EQ(scan(l, 0, slice).top, first) << second << " " << a << " " << tokens << " " << slice;
        }
      }
  EXPECT_EQ(scan(std::vector<float>(5000, -3.0f), 0, 300).top, 0);
}

TEST(HeadKernels, ExtremeLogits) {
  for (int64_t slice : kSlices) {
    std::vector<float> l(3000, -kMax);
    l[2999] = kMax;
    EXPECT_EQ(scan(l, 2999, slice).nll, 0);
    EXPECT_EQ(scan(l, 2999, slice).top, 2999);
    EXPECT_EQ(scan(l, 0, slice).nll, 2 * static_cast<double>(kMax));
    // Denormals are as good as zero to exp, but they are ordered.
    std::fill(l.begin(), l.end(), 1e-45f);
    l[1234] = 3e-45f;
    EXPECT_NEAR(scan(l, 5, slice).nll, std::log(3000.0), 1e-9);
    EXPECT_EQ(scan(l, 5, slice).top, 1234);
    // Tokens that cannot be: whole slices of them, in front, too.
    std::fill(l.begin(), l.end(), -kInf);
    l[2900] = l[2901] = 2;
    EXPECT_NEAR(scan(l, 2901, slice).nll, std::log(2.0), 1e-12);
    EXPECT_EQ(scan(l, 2901, slice).top, 2900);
    EXPECT_EQ(scan(l, 0, slice).nll, kInf);
  }
}

TEST(HeadKernels, NanAndInfinityAreNotHidden) {
  for (int64_t slice : kSlices)
    for (float bad : {std::nanf(""), kInf})
      for (size_t at : {size_t{0}, size_t{299}, size_t{1500}, size_t{2999}}) {
        std::vector<float> l(3000, 1.0f);
        l[at] = bad;
        EXPECT_TRUE(std::isnan(scan(l, 7, slice).nll)) << bad << " at " << at;
      }
  const Likelihood none = scan(std::vector<float>(600, std::nanf("")), 7, 300);
  EXPECT_TRUE(std::isnan(none.nll));
  EXPECT_EQ(none.top, 0);
}

// P and Q of two tokens with log odds r and l: KL = p log(p/q) + (1-p) log((1-p)/(1-q)); the others cannot be.
TEST(HeadKernels, DivergenceOfTwoTokens) {
  const cuda::HeadKernels k = cuda::emulated_kernels().head;
  for (const auto& [r, l] : {std::pair<float, float>{1, 1}, {2, -1}, {-30, 30}, {0.5f, 0.5001f}, {88, -88}}) {
    const double p = 1 / (1 + std::exp(-double{r})), q = 1 / (1 + std::exp(-double{l}));
    const double np = 1 / (1 + std::exp(double{r})), nq = 1 / (1 + std::exp(double{l}));
    const double expected = p * std::log(p / q) + np * std::log(np / nq);
    for (int64_t tokens : {2, 300, 2100}) {
      std::vector<float> ref(static_cast<size_t>(tokens), -200.0f), own(ref);
      ref.back() = r;
      own.back() = l;
      ref.front() = own.front() = 0;
      const kx::DeviceBuffer<float> a(ref), b(own);
      kx::DeviceBuffer<cuda::SoftmaxState> state_ref(1), state(1);
      kx::DeviceBuffer<double> kl(1);
      kx::DeviceBuffer<uint8_t> agree(1);
      ASSERT_EQ(k.scan_pair(a.data(), b.data(), 1, tokens, 0, nullptr, state_ref.data(), state.data(), nullptr, nullptr), 0);
      ASSERT_EQ(k.finish_pair(state_ref.data(), state.data(), 1, kl.data(), agree.data(), nullptr), 0);
      EXPECT_NEAR(kl.download()[0], expected, 2e-7 * (1 + std::fabs(r) + std::fabs(l))) << r << " " << l;
      EXPECT_EQ(agree.download()[0], (r > 0) == (l > 0) ? 1 : 0);
    }
  }
}

class DeviceHead : public testing::Test {
 protected:
  static constexpr int64_t kPositions = 70, kWidth = 5, kTokens = 1300;  // three slices of the vocabulary
  DeviceHead() : hidden_(kPositions, kWidth), head_(kTokens, kWidth) {
    Rng rng(3, uint64_t{1});
    for (Matrix* m : {&hidden_, &head_})
      for (int64_t i = 0; i < m->size(); ++i)
        m->data()[i] = static_cast<float>(rng.normal());
    for (int64_t t = 0; t < kPositions; ++t)
      target_.push_back(t % 3 == 1 ? -1 : static_cast<int32_t>(t * 18 % kTokens));
  }
  std::vector<double> nll(WeightView hidden, WeightView head, bool with_top) {
    std::vector<double> out(kPositions, 99);
    std::vector<int32_t> top(with_top ? kPositions : 0);
    backend_->head_nll(hidden, head, target_, out, top);
    out.insert(out.end(), top.begin(), top.end());
    return out;
  }

  std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend();
  Matrix hidden_, head_;
  std::vector<int32_t> target_;
};

// A view of device memory at an odd address with rows apart, a held head and a sent one: the same bits.
TEST_F(DeviceHead, TheKindOfMemoryDoesNotMatter) {
  for (bool with_top : {false, true}) {
    const std::vector<double> expected = nll(hidden_.view(), head_.view(), with_top);
    const BackendMatrix room(*backend_, kPositions + 1, kWidth + 3), head_room(*backend_, kTokens + 1, kWidth + 2);
    const View<float> inside = room.view().row_range(1, kPositions + 1).columns(1, kWidth + 1),
                      head_inside = head_room.view().row_range(0, kTokens).columns(1, kWidth + 1);
    copy(*backend_, hidden_.view(), inside);
    copy(*backend_, head_.view(), head_inside);
    EXPECT_EQ(nll(inside, head_.view(), with_top), expected);
    EXPECT_EQ(nll(inside, head_inside, with_top), expected);
    const HeldMemory held = hold(*backend_, head_.view());
    EXPECT_EQ(nll(hidden_.view(), head_.view(), with_top), expected);
  }
}

// With a 16-bit precision, logits are products of rounded numbers, of a head that is held and of one that is not.
TEST_F(DeviceHead, SixteenBits) {
  backend_ = make_cuda_on_cpu_backend(cuda::Precision::kBfloat16);
  const auto rounded = [](float v) { return static_cast<double>(bfloat16_to_float(float_to_bfloat16(v))); };
  const std::vector<double> got = nll(hidden_.view(), head_.view(), true);
  for (int64_t t = 0; t < kPositions; ++t) {
    std::vector<float> l;
    for (int64_t v = 0; v < kTokens; ++v) {
      double dot = 0;
      for (int64_t d = 0; d < kWidth; ++d)
        dot += rounded(hidden_(t, d)) * rounded(head_(v, d));
      l.push_back(static_cast<float>(dot));
    }
    const int32_t id = target_[static_cast<size_t>(t)];
    const double expected = id < 0 ? 0 : log_sum_exp(l) - l[static_cast<size_t>(id)];
    EXPECT_NEAR(got[static_cast<size_t>(t)], expected, 2e-6 * (1 + expected));
  }
  const HeldMemory held = hold(*backend_, head_.view());
  EXPECT_EQ(nll(hidden_.view(), head_.view(), true), got);
}

TEST_F(DeviceHead, TargetsAndResultsInDeviceMemory) {
  const std::vector<double> expected = nll(hidden_.view(), head_.view(), false);
  const std::shared_ptr<void> ids = backend_->allocate(sizeof(int32_t) * kPositions),
                              out = backend_->allocate(sizeof(double) * kPositions);
  backend_->copy({target_.data(), sizeof(int32_t) * kPositions}, {ids.get(), sizeof(int32_t) * kPositions},
                 sizeof(int32_t) * kPositions, 1);
  const std::span<double> result(static_cast<double*>(out.get()), kPositions);
  backend_->head_nll(hidden_.view(), head_.view(), {static_cast<const int32_t*>(ids.get()), kPositions}, result, {});
  std::vector<double> got(kPositions);
  copy<double>(*backend_, View<const double>(result.data(), 1, kPositions), View<double>(got.data(), 1, kPositions));
  EXPECT_EQ(got, std::vector<double>(expected.begin(), expected.begin() + kPositions));
}

TEST_F(DeviceHead, NothingAskedForIsNothingComputed) {
  target_.assign(kPositions, -1);
  backend_->restart_peak();
  EXPECT_EQ(nll(hidden_.view(), head_.view(), false), std::vector<double>(kPositions, 0.0));
  EXPECT_LT(backend_->device_memory().peak, sizeof(float) * kTokens * kWidth);  // the head was not even sent
}

// 70 x 12000 logits are 3.4 MB; the tiles have 256 KiB, and a head in host memory comes in slices.
TEST_F(DeviceHead, MemoryIsBounded) {
  constexpr int64_t kLarge = 12000;
  Matrix head(kLarge, kWidth);
  std::fill(head.data(), head.data() + head.size(), 0.0f);
  const uint64_t arguments = sizeof(float) * kPositions * kWidth * 2, per_position = 64 * kPositions,
                 slice = cuda::kEmulatedSizes.slice_bytes;
  backend_->restart_peak();
  const std::vector<double> got = nll(hidden_.view(), head.view(), false);
  EXPECT_NEAR(got[0], std::log(double{kLarge}), 1e-9);
  EXPECT_LE(backend_->device_memory().peak, slice + arguments + per_position + sizeof(float) * 1024 * kWidth);
  EXPECT_GT(backend_->device_memory().peak, slice / 2);
  std::vector<double> kl(kPositions);
  std::vector<uint8_t> agree(kPositions);
  backend_->restart_peak();
  backend_->head_divergence(hidden_.view(), head.view(), hidden_.view(), head.view(), kl, agree);
  EXPECT_EQ(kl, std::vector<double>(kPositions, 0.0));
  EXPECT_LE(backend_->device_memory().peak, slice + arguments + 2 * per_position + 2 * sizeof(float) * 512 * kWidth);
}

}  // namespace
}  // namespace sage::test
