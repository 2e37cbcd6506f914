// Planted faults: each is reported with kernel, block, thread and line, or shows in the results.
#include <gtest/gtest.h>

#include "tests/cuda_executor/faulty_kernels.h"
#include "tests/cuda_executor/sound_runs.h"
#include "tests/cuda_executor/support.h"
#include "tests/support/expect_error.h"

namespace kx::test {
namespace {

using sage::test::expect_words;
using sage::test::message_of;
namespace planted = KX_NAMESPACE;

// The report of a kernel launched with one block of 64 threads; the engine works as before afterwards.
template <class... P, class... A>
std::string fault_of(const char* name, void (*kernel)(P...), A... more) {
  DeviceBuffer<float> p(64);
  const std::string message =
      message_of<KernelFault>([&] { launch(name, 1, 64, 64 * sizeof(float), nullptr, kernel, p.data(), more...); });
  EXPECT_EQ(run_sound_kernels(), sound_results()) << "after " << name;
  return message;
}

TEST(Faults, DivergentBarrier) {
  expect_words(fault_of("divergent_barrier", planted::divergent_barrier),
               {"kernel 'divergent_barrier', block (0,0,0): divergent barrier: thread (0,0,0)", place("first arm"),
                "thread (63,0,0)", place("second arm"), "let all threads of a block meet"});
  expect_words(fault_of("divergent_vote", planted::divergent_vote), {"divergent barrier", place("vote or not")});
}

TEST(Faults, ExitBeforeBarrier) {
  {
    const WithOptions scope({.order = Order::kForward});
    expect_words(fault_of("early_exit", planted::early_exit, 40u),
                 {"kernel 'early_exit'", "exit before a barrier: thread (40,0,0) returned while 40 threads wait",
                  place("some never come")});
  }
  const WithOptions scope({.order = Order::kReverse});
  expect_words(fault_of("early_exit", planted::early_exit, 40u),
               {"exit before a barrier: 24 threads had returned when thread (39,0,0) reached", place("some never come")});
}

TEST(Faults, DeadlockSaysWhoWaitsWhere) {
  expect_words(fault_of("half_a_warp_shuffles", planted::half_a_warp_shuffles),
               {"kernel 'half_a_warp_shuffles', block (0,0,0): deadlock", "thread (0,0,0) waits in __syncthreads at ",
                place("even lanes wait here"), "thread (1,0,0) waits in a warp collective with mask 0xffffffff at ",
                place("odd lanes only"), "0 of 64 threads have returned"});
  expect_words(fault_of("waits_for_another_mask", planted::waits_for_another_mask),
               {"deadlock", "mask 0x55555557", place("masks differ")});
}

TEST(Faults, ShuffleFromAbsentLane) {
  expect_words(fault_of("absent_lane", planted::absent_lane),
               {"kernel 'absent_lane'", "shuffle from absent lane: thread (0,0,0) reads lane 20 with mask 0x0000ffff",
                place("lane 20")});
  expect_words(fault_of("returned_lane", planted::returned_lane),
               {"shuffle from absent lane: thread (4,0,0) reads lane 5 with mask 0xffffffff", place("lane 5")});
}

TEST(Faults, MaskWithoutOwnLane) {
  expect_words(fault_of("mask_without_own_lane", planted::mask_without_own_lane),
               {"mask without own lane: thread (31,0,0), lane 31", "0x7fffffff", place("lane 31 too")});
}

TEST(Faults, ShuffleWidth) {
  expect_words(fault_of("odd_width", planted::odd_width),
               {"shuffle width", "width 12", place("width 12"), "expected 1, 2, 4, 8, 16 or 32"});
}

TEST(Faults, DivergentCollective) {
  expect_words(fault_of("divergent_collective", planted::divergent_collective),
               {"divergent collective", place("a shuffle"), place("a ballot"), "thread (0,0,0)", "thread (31,0,0)"});
}

TEST(Faults, MisalignedAccess) {
  expect_words(fault_of("misaligned_load", planted::misaligned_load),
               {"misaligned access: thread (0,0,0)", place("4 bytes off"), "multiple of 16"});
  expect_words(fault_of("misaligned_store", planted::misaligned_store),
               {"misaligned access", place("off too"), "multiple of 8"});
}

TEST(Faults, NameTheBlock) {
  for (int workers : {1, 3}) {
    const WithOptions scope({.workers = workers});
    DeviceBuffer<float> p(64);
    expect_words(message_of<KernelFault>([&] {
                   launch("fault_in_one_block", dim3(4, 3), 64, 0, nullptr, planted::fault_in_one_block, p.data(), 2u, 1u);
                 }),
                 {"kernel 'fault_in_one_block', block (2,1,0): exit before a barrier", place("short of one")});
  }
}

#ifndef KX_TEST_TSAN  // which would report these (races_test.cpp)
std::vector<float> results_of(void (*kernel)(float*), unsigned blocks = 1) {
  DeviceBuffer<float> p(std::vector<float>(64, 0.0f));
  EXPECT_EQ(launch("kernel", blocks, 64, 64 * sizeof(float), nullptr, kernel, p.data()), 0);
  return p.download();
}

TEST(Faults, UnwrittenDynamicSharedMemoryIsNan) {
  const std::vector<float> results = results_of(planted::reads_unwritten);
  for (unsigned i = 0; i < 64; ++i)
    EXPECT_EQ(std::isnan(results[i]), i == 1) << i;
}

TEST(Faults, MissingBarriersShowInTheResults) {
  const auto runs = [](void (*kernel)(float*)) { return in_all_orders([kernel] { return results_of(kernel); }); };
  const auto check_sound = [&](void (*kernel)(float*), float (*expected)(int)) {
    const auto results = runs(kernel);
    EXPECT_TRUE(all_same(results));
    for (int i = 0; i < 64; ++i)
      EXPECT_EQ(results[0][static_cast<size_t>(i)], expected(i));
  };
  check_sound(planted::mirror<true>, [](int i) { return static_cast<float>(63 - i); });
  check_sound(planted::tile_loop<true>, [](int i) { return static_cast<float>(4 * ((i + 1) % 64) + 6); });
  check_sound(planted::swap_neighbours<true>, [](int i) { return static_cast<float>(i ^ 1); });

  for (const auto& results : runs(planted::mirror<false>))
    EXPECT_TRUE(any_nan(results));
  for (const auto& results : runs(planted::swap_neighbours<false>))
    EXPECT_TRUE(any_nan(results));
  EXPECT_FALSE(all_same(runs(planted::tile_loop<false>)));
}
#endif

}  // namespace
}  // namespace kx::test
