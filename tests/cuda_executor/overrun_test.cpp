// Accesses beyond memory, which AddressSanitizer sees because buffers have exactly their size.
#include <gtest/gtest.h>

#include "tests/cuda_executor/faulty_kernels.h"
#include "tests/cuda_executor/support.h"

namespace kx::test {
namespace {

namespace planted = KX_NAMESPACE;

class OverrunDeathTest : public ::testing::Test {
 protected:
  void SetUp() override {
#ifndef KX_TEST_ASAN
    GTEST_SKIP() << "needs AddressSanitizer: preset asan";
#endif
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  DeviceBuffer<float> p_{64}, out_{64};
};

TEST_F(OverrunDeathTest, GlobalMemory) {
  EXPECT_DEATH(launch("global_overrun", 1, 128, 0, nullptr, planted::global_overrun, p_.data(), 64), "heap-buffer-overflow");
  EXPECT_DEATH(launch("global_underrun", 1, 64, 0, nullptr, planted::global_underrun, p_.data(), out_.data()),
               "heap-buffer-overflow");
}

TEST_F(OverrunDeathTest, DynamicSharedMemory) {
  EXPECT_DEATH(launch("dynamic_overrun", 1, 64, 64 * sizeof(float), nullptr, planted::dynamic_overrun, p_.data()),
               "heap-buffer-overflow");
}

TEST_F(OverrunDeathTest, StaticSharedMemory) {
  EXPECT_DEATH(launch("static_overrun", 1, 64, 0, nullptr, planted::static_overrun, p_.data()), "global-buffer-overflow");
}

TEST_F(OverrunDeathTest, ReportsNameTheLine) {
  if (std::system("command -v llvm-symbolizer llvm-symbolizer-14 > /dev/null") != 0) GTEST_SKIP() << "needs llvm-symbolizer";
  EXPECT_DEATH(launch("global_overrun", 1, 128, 0, nullptr, planted::global_overrun, p_.data(), 64), place("past the end"));
  EXPECT_DEATH(launch("static_overrun", 1, 64, 0, nullptr, planted::static_overrun, p_.data()), place("past static"));
}

}  // namespace
}  // namespace kx::test
