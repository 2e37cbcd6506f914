// Device memory in blocks kept for reuse: which block serves which request, what is accounted for, what happens at the end of
// memory.
#include "kernels/cuda/device_memory.h"

#include <gtest/gtest.h>

#include "core/util/errors.h"
#include "kernels/cuda_on_cpu/emulated_api.h"
#include "tests/cuda/faulty_api.h"

namespace sage::test {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

class DeviceMemoryTest : public testing::Test {
 protected:
  DeviceMemoryTest() { api_->create_stream(&stream_); }
  ~DeviceMemoryTest() override {
    memory_.reset();
    api_->destroy_stream(stream_);
    EXPECT_EQ(faults_->complaints(true), "");
  }
  void* take(size_t bytes) { return memory_->take(bytes, stream_, "test"); }

  const std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
  const std::unique_ptr<cuda::Api> api_ = make_faulty_api(cuda::make_emulated_api(), faults_);
  cuda::Stream stream_ = nullptr;
  std::unique_ptr<cuda::DeviceMemory> memory_ = std::make_unique<cuda::DeviceMemory>(*api_, true);
};

TEST_F(DeviceMemoryTest, RoundsUp) {
  const struct {
    size_t asked, taken;
  } cases[] = {{0, 512},         {1, 512},         {512, 512},           {513, 1024},
               {kMiB - 1, kMiB}, {kMiB, 2 * kMiB}, {2 * kMiB, 2 * kMiB}, {2 * kMiB + 1, 4 * kMiB}};
  for (const auto& c : cases) {
    const uint64_t before = memory_->use().in_use;
    void* block = take(c.asked);
    EXPECT_EQ(memory_->use().in_use - before, c.taken) << c.asked;
    memory_->give(block, stream_);
    EXPECT_EQ(memory_->use().in_use, before);
  }
}

TEST_F(DeviceMemoryTest, AKeptBlockServesRequestsOfSevenEighthsOfIt) {
  void* block = take(8 * kMiB);
  memory_->give(block, stream_);
  EXPECT_EQ(faults_->allocations(), 1);
  void* same = take(7 * kMiB);  // rounded to 8
  EXPECT_EQ(same, block);
  EXPECT_EQ(memory_->use().in_use, 8 * kMiB);
  void* fresh = take(8 * kMiB);  // the only one is out
  EXPECT_NE(fresh, block);
  memory_->give(same, stream_);
  void* smaller = take(6 * kMiB);  // 6/8: too much would be wasted
  EXPECT_NE(smaller, same);
  EXPECT_EQ(faults_->allocations(), 3);
  memory_->give(smaller, stream_);
  void* larger = take(10 * kMiB);
  EXPECT_EQ(faults_->allocations(), 4);
  memory_->give(larger, stream_);
  memory_->give(fresh, stream_);
}

TEST_F(DeviceMemoryTest, TheSmallestThatFitsIsTaken) {
  void *ten = take(10 * 512), *nine = take(9 * 512);
  memory_->give(ten, stream_);
  memory_->give(nine, stream_);
  void* again = take(9 * 512);
  EXPECT_EQ(again, nine);
  void* next = take(9 * 512);  // 9/10 of the other
  EXPECT_EQ(next, ten);
  memory_->give(again, stream_);
  memory_->give(next, stream_);
}

TEST_F(DeviceMemoryTest, AccountsForUseAndPeak) {
  EXPECT_EQ(memory_->use().total, uint64_t{8} << 30);  // of the emulated device
  void *a = take(4 * kMiB), *b = take(2 * kMiB);
  memory_->give(a, stream_);
  EXPECT_EQ(memory_->use().in_use, 2 * kMiB);
  EXPECT_EQ(memory_->use().peak, 6 * kMiB);
  memory_->restart_peak();
  EXPECT_EQ(memory_->use().peak, 2 * kMiB);
  void* c = take(4 * kMiB);
  EXPECT_EQ(memory_->use().peak, 6 * kMiB);
  memory_->give(b, stream_);
  memory_->give(c, stream_);
  EXPECT_EQ(memory_->use().in_use, 0u);
  EXPECT_EQ(memory_->use().peak, 6 * kMiB);
}

TEST_F(DeviceMemoryTest, KeptBlocksMakeRoomWhenMemoryEnds) {
  faults_->limit_memory(10 * kMiB);
  void *a = take(4 * kMiB), *b = take(4 * kMiB);
  memory_->give(b, stream_);
  void* c = take(6 * kMiB);  // only when b's block is given back to the device
  EXPECT_EQ(faults_->memory(), 10 * kMiB);
  EXPECT_EQ(memory_->use().in_use, 10 * kMiB);
  try {
    take(2 * kMiB);
    ADD_FAILURE() << "no error";
  } catch (const ResourceError& e) {
    EXPECT_STREQ(
        e.what(),
        "cuda_on_cpu: test: taking 2.1 MB of device memory (10.5 of 8589.9 MB in use by this program) failed: "
        "cudaErrorMemoryAllocation (2): out of memory; expected enough free device memory; close other programs on the "
        "device, or evaluate fewer windows at a time");
  }
  EXPECT_EQ(memory_->use().in_use, 10 * kMiB);
  memory_->give(a, stream_);
  void* d = take(4 * kMiB);
  EXPECT_EQ(d, a);
  memory_->give(c, stream_);
  memory_->give(d, stream_);
}

TEST_F(DeviceMemoryTest, OwnsWhatIsHandedOut) {
  int local = 0;
  EXPECT_FALSE(memory_->owns(&local));
  EXPECT_FALSE(memory_->owns(nullptr));
  auto* block = static_cast<char*>(take(1024));
  EXPECT_TRUE(memory_->owns(block));
  EXPECT_TRUE(memory_->owns(block + 1023));
  EXPECT_FALSE(memory_->owns(block + 1024));
  EXPECT_FALSE(memory_->owns(block - 1));
  memory_->give(block, stream_);
  EXPECT_FALSE(memory_->owns(block));
}

TEST_F(DeviceMemoryTest, WithoutKeepingBlocksAreExactAndFreedAtOnce) {
  memory_ = std::make_unique<cuda::DeviceMemory>(*api_, false);
  void* block = take(1001);
  EXPECT_EQ(faults_->memory(), 1001u);
  EXPECT_EQ(memory_->use().in_use, 1001u);
  memory_->give(block, stream_);
  EXPECT_EQ(faults_->memory(), 0u);
}

TEST_F(DeviceMemoryTest, GivingWhatWasNeverTakenDoesNothing) {
  int local = 0;
  memory_->give(nullptr, stream_);
  memory_->give(&local, stream_);
  EXPECT_EQ(memory_->use().in_use, 0u);
}

}  // namespace
}  // namespace sage::test
