// Launches: what is refused, what runs where, and that neither order nor workers change results.
#include <gtest/gtest.h>

#include <cstdlib>
#include <numeric>
#include <set>
#include <thread>

#include "tests/cuda_executor/sound_runs.h"
#include "tests/cuda_executor/support.h"
#include "tests/support/expect_error.h"

namespace KX_NAMESPACE {
namespace {

__global__ void count_visits(unsigned* visits) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  atomicAdd(visits + block * blockDim.x * blockDim.y * blockDim.z + thread, thread + 1000 * block + 1);
}
__global__ void nothing() {}
__global__ void copy_shared(uint8_t* out, size_t n) {
  KX_DYNAMIC_SHARED(uint8_t, s);
  for (size_t i = threadIdx.x; i < n; i += blockDim.x)
    out[blockIdx.x * n + i] = s[i];
  __syncthreads();
  for (size_t i = threadIdx.x; i < n; i += blockDim.x)
    s[i] = 1;
}
__global__ void shared_alignment(unsigned* out) {
  KX_DYNAMIC_SHARED(float4, s);
  out[0] = static_cast<unsigned>(reinterpret_cast<uintptr_t>(s) % 16);
}
struct Parameters {
  int a;
  double b;
};
__global__ void takes_values(__grid_constant__ const Parameters p, float factor, double* out) { *out = p.a + p.b * factor; }
// Appends its index to a list, without waiting for anything.
__global__ void start_order(unsigned* list, unsigned* length) {
  list[atomicAdd(length, 1u)] = blockIdx.x * blockDim.x + threadIdx.x;
}

}  // namespace
}  // namespace KX_NAMESPACE

namespace kx::test {
namespace {

using sage::test::expect_words;
using sage::test::message_of;

TEST(Launch, EveryThreadOfEveryBlockRunsOnceInEveryOrder) {
  for (const Options& o : all_orders()) {
    const WithOptions scope(o);
    const dim3 grid(3, 2, 2), block(4, 3, 5);
    DeviceBuffer<unsigned> visits(std::vector<unsigned>(12 * 60, 0));
    ASSERT_EQ(launch("count_visits", grid, block, 0, nullptr, KX_NAMESPACE::count_visits, visits.data()), 0);
    const std::vector<unsigned> seen = visits.download();
    for (unsigned i = 0; i < seen.size(); ++i)
      ASSERT_EQ(seen[i], i % 60 + 1000 * (i / 60) + 1);
  }
}

TEST(Launch, OrderAndSeedDecideWhoStarts) {
  const auto starts = [](const Options& o) {
    Options one = o;
    one.workers = 1;
    const WithOptions scope(one);
    DeviceBuffer<unsigned> list(10 * 7), length(std::vector<unsigned>(1, 0));
    EXPECT_EQ(launch("start_order", 10, 7, 0, nullptr, KX_NAMESPACE::start_order, list.data(), length.data()), 0);
    return list.download();
  };
  std::vector<unsigned> up(70);
  std::iota(up.begin(), up.end(), 0u);
  EXPECT_EQ(starts({.order = Order::kForward}), up);
  EXPECT_EQ(starts({.order = Order::kReverse}), std::vector<unsigned>(up.rbegin(), up.rend()));
  std::set<std::vector<unsigned>> different;
  for (uint64_t seed : {1, 2, 3}) {
    const std::vector<unsigned> order = starts({.order = Order::kRandom, .seed = seed});
    EXPECT_EQ(order, starts({.order = Order::kRandom, .seed = seed}));
    std::vector<unsigned> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, up);
    different.insert(order);
  }
  EXPECT_EQ(different.size(), 3u);
}

TEST(Launch, RefusesWhatDevicesRefuse) {
  constexpr int kInvalidConfiguration = 9;
  const auto code = [](dim3 grid, dim3 block, size_t shared) {
    return launch("nothing", grid, block, shared, nullptr, KX_NAMESPACE::nothing);
  };
  for (const dim3 zero : {dim3(0, 1, 1), dim3(1, 0, 1), dim3(1, 1, 0)}) {
    EXPECT_EQ(code(zero, 1, 0), kInvalidConfiguration);
    EXPECT_EQ(code(1, zero, 0), kInvalidConfiguration);
  }
  EXPECT_EQ(code(1, 1024, 0), 0);
  EXPECT_EQ(code(1, 1025, 0), kInvalidConfiguration);
  EXPECT_EQ(code(1, dim3(32, 32, 1), 0), 0);
  EXPECT_EQ(code(1, dim3(32, 33, 1), 0), kInvalidConfiguration);
  EXPECT_EQ(code(1, dim3(1, 1, 64), 0), 0);
  EXPECT_EQ(code(1, dim3(1, 1, 65), 0), kInvalidConfiguration);
  EXPECT_EQ(code(1, dim3(65536, 65536, 1), 0), kInvalidConfiguration) << "the product is 0 in 32 bits";
  EXPECT_EQ(code(dim3(1, 65535, 1), 1, 0), 0);
  EXPECT_EQ(code(dim3(1, 65536, 1), 1, 0), kInvalidConfiguration);
  EXPECT_EQ(code(dim3(1, 1, 65536), 1, 0), kInvalidConfiguration);
  EXPECT_EQ(code(dim3(0x80000000u, 1, 1), 1, 0), kInvalidConfiguration);
  EXPECT_EQ(code(1, 1, 99 * 1024), 0);
  EXPECT_EQ(code(1, 1, 99 * 1024 + 1), kInvalidConfiguration);
}

TEST(Launch, DynamicSharedMemoryStartsAsNanInEveryBlock) {
  DeviceBuffer<uint8_t> out(3 * 100);
  out.upload(std::vector<uint8_t>(300, 0));
  const WithOptions one_worker({.workers = 1});
  ASSERT_EQ(launch("copy_shared", 3, 32, 100, nullptr, KX_NAMESPACE::copy_shared, out.data(), size_t{100}), 0);
  EXPECT_EQ(out.download(), std::vector<uint8_t>(300, 0xff));
  DeviceBuffer<unsigned> remainder(1);
  ASSERT_EQ(launch("shared_alignment", 1, 1, 20, nullptr, KX_NAMESPACE::shared_alignment, remainder.data()), 0);
  EXPECT_EQ(remainder.download()[0], 0u);
}

TEST(Launch, PassesArgumentsByValueAndConverts) {
  DeviceBuffer<double> out(1);
  ASSERT_EQ(
      launch("takes_values", 1, 1, 0, nullptr, KX_NAMESPACE::takes_values, KX_NAMESPACE::Parameters{3, 0.5}, 4, out.data()), 0);
  EXPECT_EQ(out.download()[0], 5.0);
}

TEST(Launch, SoundKernelsGiveTheirClosedFormsInEveryOrder) {
  const std::vector<float> expected = sound_results();
  for (const std::vector<float>& results : in_all_orders(run_sound_kernels))
    EXPECT_EQ(results, expected);
}

TEST(Launch, SoundKernelsGiveTheSameWithAnyNumberOfWorkers) {
  const std::vector<float> expected = sound_results();
  for (int workers : {1, 2, 5}) {
    const WithOptions scope({.workers = workers, .order = Order::kRandom, .seed = 7});
    EXPECT_EQ(run_sound_kernels(), expected);
  }
}

TEST(Launch, SeveralHostThreadsMayLaunch) {
  const std::vector<float> expected = sound_results();
  std::vector<std::vector<float>> results(3);
  std::vector<std::thread> threads;
  for (auto& r : results)
    threads.emplace_back([&r] { r = run_sound_kernels(); });
  for (std::thread& t : threads)
    t.join();
  for (const auto& r : results)
    EXPECT_EQ(r, expected);
}

// Options are read once per process, so each of these has its own.
void exit_with_options(const char* name, const char* value) {
  setenv(name, value, 1);
  try {
    const Options o = options();
    std::fprintf(stderr, "order %d seed %d workers %d", static_cast<int>(o.order), static_cast<int>(o.seed), o.workers);
  } catch (const std::invalid_argument& e) {
    std::fprintf(stderr, "%s", e.what());
  }
  std::_Exit(3);
}
TEST(LaunchDeathTest, OptionsComeFromTheEnvironment) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const char* name : {"KX_ORDER", "KX_SEED", "KX_WORKERS", "KX_CROSS_BLOCK"})
    unsetenv(name);
  const auto three = ::testing::ExitedWithCode(3);
  EXPECT_EXIT(exit_with_options("KX_ORDER", "forward"), three, "order 0 seed 1 workers 0");
  EXPECT_EXIT(exit_with_options("KX_ORDER", "reverse"), three, "order 1 seed 1 workers 0");
  EXPECT_EXIT(exit_with_options("KX_ORDER", "random"), three, "order 2 seed 1 workers 0");
  EXPECT_EXIT(exit_with_options("KX_SEED", "42"), three, "order 0 seed 42 workers 0");
  EXPECT_EXIT(exit_with_options("KX_WORKERS", "3"), three, "order 0 seed 1 workers 3");
  EXPECT_EXIT(exit_with_options("KX_ORDER", "backward"), three, "KX_ORDER: 'backward'; expected forward, reverse or random");
  EXPECT_EXIT(exit_with_options("KX_WORKERS", "-1"), three, "KX_WORKERS: '-1'; expected a whole number");
  EXPECT_EXIT(exit_with_options("KX_SEED", "12x"), three, "KX_SEED: '12x'; expected a whole number");
}

TEST(DeviceBuffer, StartsAsNanAndTakesExactlyItsSize) {
  DeviceBuffer<float> b(3);
  for (const float v : b.download())
    EXPECT_TRUE(std::isnan(v));
  b.upload(std::vector<float>{1, 2, 3});
  EXPECT_EQ(b.download(), (std::vector<float>{1, 2, 3}));
  expect_words(message_of<std::invalid_argument>([&] {
                 b.upload(std::vector<float>{1, 2});
               }),
               {"DeviceBuffer::upload", "2 values", "expected 3"});
  EXPECT_EQ(DeviceBuffer<float>(0).size(), 0u);
}

}  // namespace
}  // namespace kx::test
