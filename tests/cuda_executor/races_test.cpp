// Data races, which ThreadSanitizer reports between CUDA threads. Only in the build of preset tsan.
#include "tests/cuda_executor/support.h"

#ifdef KX_TEST_TSAN
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/cuda_executor/faulty_kernels.h"
#include "tests/cuda_executor/sound_runs.h"

namespace kx::test {
namespace {

namespace planted = KX_NAMESPACE;

// What ThreadSanitizer says of the race at `mark`. Places need llvm-symbolizer (Debian's package llvm): without it only races
// are told from none.
std::string report(const char* mark) {
  static const bool has_places = [] {
    const bool found = std::system("command -v llvm-symbolizer > /dev/null 2>&1") == 0;
    if (!found)
      std::puts("note: llvm-symbolizer is not on PATH, so where races are reported is not tested; install Debian's llvm");
    return found;
  }();
  return has_places ? "data race(.|\n)*" + place(mark) : "data race";
}

class RacesDeathTest : public ::testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  // Ends the process: 66 where ThreadSanitizer had something to report.
  [[noreturn]] static void run(void (*kernel)(float*), unsigned blocks = 1, bool blocks_race = false, unsigned threads = 64) {
    options().cross_block_races = blocks_race;
    {
      DeviceBuffer<float> p(std::vector<float>(64, 0.0f));
      if (launch("kernel", blocks, blocks_race ? 1 : threads, 64 * sizeof(float), nullptr, kernel, p.data()) != 0)
        std::_Exit(1);
    }
    std::exit(0);
  }
  static void expect_race(void (*kernel)(float*), const char* mark, unsigned blocks = 1) {
    EXPECT_EXIT(run(kernel, blocks, blocks > 1), ::testing::ExitedWithCode(66), report(mark)) << mark;
  }
  static void expect_none(void (*kernel)(float*), unsigned blocks = 1) {
    EXPECT_EXIT(run(kernel, blocks, blocks > 1), ::testing::ExitedWithCode(0), "");
  }
};

TEST_F(RacesDeathTest, MissingBarrier) {
  expect_race(planted::mirror<false>, "mirror reads");
  expect_race(planted::static_tile_without_barrier, "static reads");
  expect_none(planted::mirror<true>);
}
// ThreadSanitizer alone would forget what threads of these did.
TEST_F(RacesDeathTest, LargeBlocks) {
  for (unsigned threads : {128u, 256u, 512u, 1024u}) {
    SCOPED_TRACE(threads);
    EXPECT_EXIT(run(planted::sums_of_warps<false>, 1, false, threads), ::testing::ExitedWithCode(66), report("sum writes"));
    EXPECT_EXIT(run(planted::sums_of_warps<true>, 1, false, threads), ::testing::ExitedWithCode(0), "");
  }
}
// A thread keeps its fiber from block to block and from launch to launch.
TEST_F(RacesDeathTest, LaterBlocksAndLaunches) {
  const auto run_all = [](void (*last)(float*)) {
    DeviceBuffer<float> p(std::vector<float>(96, 0.0f));
    for (unsigned threads : {64u, 96u, 32u})
      if (launch("sound", 3, threads, 96 * sizeof(float), nullptr, planted::mirror<true>, p.data()) != 0) std::_Exit(1);
    if (launch("last", 5, 64, 64 * sizeof(float), nullptr, last, p.data()) != 0) std::_Exit(1);
    std::exit(0);
  };
  for (const Options& o : all_orders()) {
    const WithOptions scope(o);
    EXPECT_EXIT(run_all(planted::last_block_mirrors<false>), ::testing::ExitedWithCode(66), report("last reads"));
  }
  EXPECT_EXIT(run_all(planted::last_block_mirrors<true>), ::testing::ExitedWithCode(0), "");
}
TEST_F(RacesDeathTest, MissingSecondBarrier) {
  expect_race(planted::tile_loop<false>, "tile writes");
  expect_none(planted::tile_loop<true>);
}
TEST_F(RacesDeathTest, MissingSyncwarp) {
  expect_race(planted::swap_neighbours<false>, "swap reads");
  expect_none(planted::swap_neighbours<true>);
}
TEST_F(RacesDeathTest, BlocksThatMeet) {
  expect_race(planted::blocks_add<false>, "blocks meet", 8);
  expect_none(planted::blocks_add<true>, 8);
}
TEST_F(RacesDeathTest, NoneInSoundKernels) {
  EXPECT_EXIT(
      {
        for (const auto& results : in_all_orders(run_sound_kernels))
          if (results != sound_results()) std::_Exit(1);
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace kx::test
#endif
