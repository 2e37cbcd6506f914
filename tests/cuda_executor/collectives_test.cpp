// Barriers and warp collectives against closed forms, in every order of the threads.
#include <gtest/gtest.h>

#include "tests/cuda_executor/support.h"

namespace KX_NAMESPACE {
namespace {

// Counts failures of check number `id`, and how often any was made.
struct Checks {
  int* failures;
  int* made;
};
__device__ __forceinline__ void check(const Checks& c, int id, bool holds) {
  atomicAdd(c.made, 1);
  if (!holds) atomicAdd(c.failures + id, 1);
}
struct Pair {
  int a;
  float b;
};

__global__ void shuffles(Checks c) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int width = 1; width <= 32; width *= 2) {
    const int first = lane & ~(width - 1), end = first + width;
    for (int i = 0; i < 40; ++i) {
      check(c, 0, __shfl_sync(0xffffffffu, lane * 10, i, width) == (first + i % width) * 10);
      const int d = i % 32;  // a distance counts by its low five bits
      check(c, 1, __shfl_up_sync(0xffffffffu, lane, static_cast<unsigned>(i), width) == (lane - d < first ? lane : lane - d));
      check(c, 2, __shfl_down_sync(0xffffffffu, lane, static_cast<unsigned>(i), width) == (lane + d >= end ? lane : lane + d));
      check(c, 3, __shfl_xor_sync(0xffffffffu, lane, i, width) == ((lane ^ d) >= end ? lane : (lane ^ d)));
    }
    check(c, 4, __shfl_sync(0xffffffffu, lane, -1, width) == end - 1);
  }
}
__global__ void shuffled_types(Checks c) {
  const int lane = static_cast<int>(threadIdx.x % 32), other = lane ^ 3;
  check(c, 0, __shfl_xor_sync(0xffffffffu, lane + 0.5, 3) == other + 0.5);
  check(c, 1, __shfl_xor_sync(0xffffffffu, static_cast<float>(lane), 3) == static_cast<float>(other));
  check(c, 2,
        __shfl_xor_sync(0xffffffffu, static_cast<unsigned long long>(lane) << 40, 3) == static_cast<unsigned long long>(other)
                                                                                            << 40);
  check(c, 3, __shfl_xor_sync(0xffffffffu, -static_cast<long long>(lane), 3) == -other);
  check(c, 4, __shfl_xor_sync(0xffffffffu, static_cast<uint8_t>(lane + 200), 3) == other + 200);
  check(c, 5,
        __half2float(__shfl_xor_sync(0xffffffffu, __float2half(static_cast<float>(lane)), 3)) == static_cast<float>(other));
  check(c, 6,
        __bfloat162float(__shfl_down_sync(0xffffffffu, __float2bfloat16(static_cast<float>(lane)), 31)) ==
            (lane == 0 ? 31.0f : static_cast<float>(lane)));
  const Pair p = __shfl_sync(0xffffffffu, Pair{lane, -static_cast<float>(lane)}, other);
  check(c, 7, p.a == other && p.b == -static_cast<float>(other));
}
__global__ void votes(Checks c) {
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  check(c, 0, __ballot_sync(0xffffffffu, lane % 3 == warp % 3) == (0x49249249u << warp % 3));
  check(c, 1, __any_sync(0xffffffffu, lane == 7) == 1 && __any_sync(0xffffffffu, lane == 32) == 0);
  check(c, 2, __all_sync(0xffffffffu, lane < 32) == 1 && __all_sync(0xffffffffu, lane < 31) == 0);
  check(c, 3, __reduce_add_sync(0xffffffffu, lane) == 496 && __reduce_add_sync(0xffffffffu, -lane) == -496);
  check(c, 4, __reduce_add_sync(0xffffffffu, 0x10000000u) == 0u);  // 32 times 2^28 wraps
  check(c, 5, __reduce_min_sync(0xffffffffu, 5 - lane) == -26 && __reduce_max_sync(0xffffffffu, 5 - lane) == 5);
  check(c, 6, __reduce_max_sync(0xffffffffu, static_cast<unsigned>(lane - 1)) == 0xffffffffu);
  check(c, 7, __reduce_min_sync(0xffffffffu, static_cast<unsigned>(lane - 1)) == 0u);
  check(c, 8, __reduce_and_sync(0xffffffffu, 0xf0u | static_cast<unsigned>(lane)) == 0xf0u);
  check(c, 9, __reduce_or_sync(0xffffffffu, 1u << lane) == 0xffffffffu);
  check(c, 10, __reduce_xor_sync(0xffffffffu, static_cast<unsigned>(lane) << (lane == 31 ? 0 : 5)) == ((31u << 5) | 31u));
}
// Halves of a warp call different collectives, each with its own mask.
__global__ void halves(Checks c) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (lane < 16) {
    check(c, 0, __ballot_sync(0x0000ffffu, lane & 1) == 0xaaaau);
    check(c, 1, __shfl_xor_sync(0x0000ffffu, lane, 8) == (lane ^ 8));
    check(c, 2, __reduce_add_sync(0x0000ffffu, lane) == 120);
    check(c, 3, __all_sync(0x0000ffffu, lane < 16) == 1);
  } else {
    check(c, 4, __ballot_sync(0xffff0000u, lane > 20) == 0xffe00000u);
    check(c, 5, __reduce_min_sync(0xffff0000u, lane) == 16);
  }
}
// The last warp has eight lanes; then half of each warp returns: the others are all that a mask still names.
__global__ void lanes_that_are_not_there(Checks c) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const bool last = threadIdx.x >= 32;
  check(c, 0, __ballot_sync(0xffffffffu, 1) == (last ? 0xffu : 0xffffffffu));
  check(c, 1, __shfl_xor_sync(0xffffffffu, lane, 4) == (lane ^ 4));
  if (lane % 2 != 0) return;
  check(c, 2, __ballot_sync(0xffffffffu, 1) == (last ? 0x55u : 0x55555555u));
  check(c, 3, __shfl_xor_sync(0xffffffffu, lane, 2) == (lane ^ 2));
}
__global__ void block_votes(Checks c) {
  const int t = static_cast<int>(threadIdx.x);
  check(c, 0, __syncthreads_count(t < 40) == 40);
  check(c, 1, __syncthreads_count(0) == 0 && __syncthreads_count(1) == 100);
  check(c, 2, __syncthreads_or(t == 99) != 0 && __syncthreads_or(t == 100) == 0);
  check(c, 3, __syncthreads_and(1) != 0 && __syncthreads_and(t < 99) == 0);
}
// A value walks round the block, one step per round, with two barriers each.
__global__ void walk(float* out, int rounds) {
  KX_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = static_cast<float>(threadIdx.x);
  for (int i = 0; i < rounds; ++i) {
    __syncthreads();
    const float v = s[(threadIdx.x + 1) % blockDim.x];
    __syncthreads();
    s[threadIdx.x] = v;
  }
  out[threadIdx.x] = s[threadIdx.x];
}

}  // namespace
}  // namespace KX_NAMESPACE

namespace kx::test {
namespace {

using KX_NAMESPACE::Checks;

// Runs `kernel` in every order; all its checks hold.
void expect_checks(void (*kernel)(Checks), int threads) {
  for (const Options& o : all_orders()) {
    const WithOptions scope(o);
    DeviceBuffer<int> failures(std::vector<int>(16, 0)), made(std::vector<int>(1, 0));
    ASSERT_EQ(launch("checks", 3, threads, 0, nullptr, kernel, Checks{failures.data(), made.data()}), 0);
    EXPECT_GE(made.download()[0], 3 * threads);
    EXPECT_EQ(failures.download(), std::vector<int>(16, 0)) << "order " << static_cast<int>(o.order);
  }
}

TEST(Collectives, Shuffles) { expect_checks(KX_NAMESPACE::shuffles, 64); }
TEST(Collectives, ShufflesMoveEveryTypeOfUpTo8Bytes) { expect_checks(KX_NAMESPACE::shuffled_types, 64); }
TEST(Collectives, VotesAndReductions) { expect_checks(KX_NAMESPACE::votes, 96); }
TEST(Collectives, MasksSplitAWarp) { expect_checks(KX_NAMESPACE::halves, 64); }
TEST(Collectives, LanesThatReturnedAreNotWaitedFor) { expect_checks(KX_NAMESPACE::lanes_that_are_not_there, 40); }
TEST(Collectives, BarriersVote) { expect_checks(KX_NAMESPACE::block_votes, 100); }

TEST(Collectives, ManyBarriers) {
  for (const unsigned threads : {1u, 33u, 1024u})
    for (const auto& results : in_all_orders([threads] {
           DeviceBuffer<float> out(threads);
           EXPECT_EQ(launch("walk", 1, threads, threads * sizeof(float), nullptr, KX_NAMESPACE::walk, out.data(), 50), 0);
           return out.download();
         }))
      for (unsigned i = 0; i < threads; ++i)
        ASSERT_EQ(results[i], static_cast<float>((i + 50) % threads));
}

}  // namespace
}  // namespace kx::test
