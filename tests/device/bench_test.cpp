// Benchmarks of a device time its operations, not transfers of matrices: everything lies there before the clock starts.
#include <gtest/gtest.h>

#include <set>

#include "kernels/bench/bench.h"
#include "tests/support/device_double.h"

namespace sage {
namespace {

TEST(DeviceBenchmarks, SendNoMatrices) {
  const test::DeviceDouble device;
  std::set<std::string> done;
  const std::vector<BenchmarkRow> rows =
      collect_benchmarks(device, {.filter = "", .tiny = true}, {}, [&](const BenchmarkRow& r) { done.insert(r.name); });
  ASSERT_GT(rows.size(), 25u);
  EXPECT_EQ(done.size(), rows.size());
  for (const BenchmarkRow& r : rows) {
    EXPECT_GT(r.rate.value_or(0), 0) << r.name;
    EXPECT_FALSE(r.bound || r.fraction) << r.name << ": no bound of a device is known";
  }
  for (const auto& [operation, bytes] : device.host_bytes())
    EXPECT_EQ(bytes, 0u) << operation;
  EXPECT_EQ(device.broken_promises(), 0);
  EXPECT_EQ(device.held_now(), 0) << "what is held must go before the backend does";
  EXPECT_EQ(device.device_memory().in_use, 0u);
}

}  // namespace
}  // namespace sage
