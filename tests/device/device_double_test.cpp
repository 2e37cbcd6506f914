// The double itself: what it must catch, it catches.
#include "tests/support/device_double.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/backend/memory.h"
#include "core/util/errors.h"
#include "tests/support/expect_error.h"

namespace sage {
namespace {

using test::expect_words;
using test::message_of;

Matrix counting(int64_t rows, int64_t cols) {
  Matrix m(rows, cols);
  for (int64_t i = 0; i < m.size(); ++i)
    m.data()[i] = static_cast<float>(i);
  return m;
}

TEST(DeviceDouble, ComputesInItsOwnMemory) {
  const test::DeviceDouble device;
  const Matrix a = counting(3, 5);
  const BackendMatrix x(device, 3, 5), y(device, 3, 5);
  copy(device, a.view(), x.view());
  copy(device, x.view(), y.view());
  device.add(y.view(), x.view());
  EXPECT_TRUE(device.host_bytes().empty());
  const Matrix sum = to_host(device, y.view());
  for (int64_t i = 0; i < sum.size(); ++i)
    EXPECT_EQ(sum.data()[i], 2 * a.data()[i]);
  device.add(y.view(), a.view());
  EXPECT_EQ(device.host_bytes("add"), 15 * sizeof(float));
}

TEST(DeviceDouble, StartsAsNan) {
  const test::DeviceDouble device;
  const BackendMatrix x(device, 1, 3);
  EXPECT_TRUE(std::isnan(to_host(device, x.view())(0, 2)));
}

TEST(DeviceDoubleDeathTest, TheHostCannotTouchIt) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const test::DeviceDouble device;
  const BackendMatrix x(device, 4, 4);
  copy(device, counting(4, 4).view(), x.view());  // and closed again
  EXPECT_DEATH(EXPECT_EQ(*const_cast<volatile float*>(x.view().data), 0), "");
  EXPECT_DEATH(*const_cast<volatile float*>(x.view().data) = 1, "");
}

TEST(DeviceDouble, RefusesViewsThatEndBehindTheirBlock) {
  const test::DeviceDouble device;
  const BackendMatrix x(device, 2, 8);
  expect_words(message_of<Error>([&] { device.relu({x.view().data, 3, 8}); }), {"device double", "relu", "behind their block"});
}

TEST(DeviceDouble, UsesTheCopyOfHeldMemory) {
  const test::DeviceDouble device;
  Matrix a = counting(4, 6);
  const HeldMemory held = hold(device, a.view());
  const Matrix before = Matrix::copy(a.view());
  a(2, 3) = -1;  // a broken promise
  const WeightView part = a.view().row_range(1, 3).columns(2, 5);
  Matrix out = Matrix::zeros(2, 3);
  device.add(out.view(), part);
  EXPECT_EQ(out(1, 1), before(2, 3));
  EXPECT_EQ(device.host_bytes("add"), 6 * sizeof(float));  // of `out`
}

TEST(DeviceDouble, NoticesWhatChangedWhileHeld) {
  const test::DeviceDouble device;
  Matrix a = counting(4, 6);
  hold(device, a.view());
  EXPECT_EQ(device.broken_promises(), 0);
  {
    const HeldMemory held = hold(device, a.view().columns(1, 3));
    a(3, 0) = -1;  // not held
  }
  EXPECT_EQ(device.broken_promises(), 0);
  {
    const HeldMemory held = hold(device, a.view().columns(1, 3));
    EXPECT_EQ(device.held_now(), 1);
    a(3, 2) = -1;
  }
  EXPECT_EQ(device.broken_promises(), 1);
  EXPECT_EQ(device.held_now(), 0);
  EXPECT_EQ(device.device_memory().in_use, 0u);
}

TEST(DeviceDouble, RefusesToWriteToHeldMemory) {
  const test::DeviceDouble device;
  Matrix a = counting(4, 6);
  const HeldMemory held = hold(device, a.view());
  expect_words(message_of<Error>([&] { device.relu(a.view().row_range(3, 4)); }), {"relu", "held"});
}

TEST(DeviceDouble, CountsMemory) {
  const test::DeviceDouble device(1000);
  {
    const BackendMatrix x(device, 10, 10), y(device, 10, 10);
    EXPECT_EQ(device.device_memory().in_use, 800u);
    EXPECT_THROW(BackendMatrix(device, 10, 10), ResourceError);
  }
  EXPECT_EQ(device.device_memory().in_use, 0u);
  EXPECT_EQ(device.device_memory().peak, 800u);
  device.restart_peak();
  EXPECT_EQ(device.device_memory().peak, 0u);
}

}  // namespace
}  // namespace sage
