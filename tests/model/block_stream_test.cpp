// Blocks loaded ahead are the same blocks in the same order, two in memory at most, with errors where they belong.
#include "core/model/block_stream.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

#include "core/model/checkpoint.h"
#include "core/util/errors.h"
#include "kernels/backends.h"
#include "tests/support/device_double.h"
#include "tests/support/expect_error.h"

namespace sage {
namespace {

using test::expect_words;
using test::message_of;
using namespace std::chrono_literals;

constexpr auto kPatience = 20s;  // of tests that would hang otherwise
constexpr int64_t kWeights = 64;

// A block whose one matrix says which layer it is of.
BlockWeights numbered(int layer, int64_t weights = kWeights) {
  BlockWeights b;
  b.layer = layer;
  b.weight(LinearRole::kQuery) = Matrix(1, weights);
  for (int64_t j = 0; j < weights; ++j)
    b.weight(LinearRole::kQuery)(0, j) = static_cast<float>(layer);
  return b;
}

class BlockStreamTest : public testing::TestWithParam<bool> {
 protected:
  bool ahead() const { return GetParam(); }
  test::DeviceDouble device_;
};
INSTANTIATE_TEST_SUITE_P(Ahead, BlockStreamTest, testing::Values(false, true));

TEST_P(BlockStreamTest, OrderAndMemory) {
  const std::vector<int> layers = {0, 1, 2, 0, 1, 2, 5};
  std::atomic<int> asked = 0;
  {
    BlockStream blocks(
        device_, layers, [&](int layer) { return ++asked, numbered(layer); }, ahead());
    for (size_t i = 0; i < layers.size(); ++i) {
      const BlockWeights& b = blocks.next();
      EXPECT_EQ(b.layer, layers[i]);
      // A copy is on the device, and it is this block's.
      Matrix sum = Matrix::zeros(1, kWeights);
      device_.add(sum.view(), b.weight(LinearRole::kQuery).view());
      EXPECT_EQ(sum(0, kWeights - 1), static_cast<float>(layers[i]));
      const int most = static_cast<int>(i) + (ahead() ? 2 : 1);
      EXPECT_LE(asked, most) << "a third block is being loaded";
    }
    expect_words(message_of<Error>([&] { blocks.next(); }), {"block stream", "behind the last one"});
  }
  EXPECT_EQ(asked, static_cast<int>(layers.size()));
  EXPECT_EQ(device_.host_bytes("add"), layers.size() * kWeights * sizeof(float));  // of `sum` alone
  EXPECT_LE(device_.device_memory().peak, (ahead() ? 2 : 1) * kWeights * sizeof(float));
  EXPECT_EQ(device_.device_memory().in_use, 0u);
  EXPECT_EQ(device_.held_now(), 0);
  EXPECT_EQ(device_.broken_promises(), 0);
}

// While the caller works on block 0, block 1 is loaded: a caller that waits for that goes on.
TEST(BlockStream, LoadsWhileTheCallerWorks) {
  const test::DeviceDouble device;
  std::promise<std::thread::id> second;
  BlockStream blocks(device, {0, 1}, [&](int layer) {
    if (layer == 1) second.set_value(std::this_thread::get_id());
    return numbered(layer);
  });
  blocks.next();
  std::future<std::thread::id> loader = second.get_future();
  ASSERT_EQ(loader.wait_for(kPatience), std::future_status::ready) << "block 1 was not loaded ahead";
  EXPECT_NE(loader.get(), std::this_thread::get_id());
  EXPECT_EQ(blocks.next().layer, 1);
}

// The loader's own parallel loops keep to the caller's number of threads.
TEST_P(BlockStreamTest, LoadsWithTheCallersThreads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(before + 3);
  int seen = 0;
  BlockStream blocks(
      device_, {0},
      [&](int layer) {
        seen = omp_get_max_threads();
        return numbered(layer);
      },
      ahead());
  blocks.next();
  EXPECT_EQ(seen, before + 3);
  EXPECT_EQ(omp_get_max_threads(), before + 3);
  omp_set_num_threads(before);
}

// Where the host computes, it loads in between, on the caller's own thread.
TEST(BlockStream, HostBackendsLoadInTurn) {
  const auto backend = make_backend("reference");
  EXPECT_FALSE(BlockStream::pays(*backend));
  std::vector<std::thread::id> threads;
  BlockStream blocks(*backend, {0, 1}, [&](int layer) {
    threads.push_back(std::this_thread::get_id());
    return numbered(layer);
  });
  EXPECT_TRUE(threads.empty());
  blocks.next();
  blocks.next();
  EXPECT_EQ(threads, std::vector<std::thread::id>(2, std::this_thread::get_id()));
}

TEST_P(BlockStreamTest, ErrorsComeWithTheirBlock) {
  BlockStream blocks(
      device_, {0, 1, 2, 3},
      [](int layer) -> BlockWeights {
        if (layer == 2) throw ResourceError("layer {}: is damaged; expected a sound one; copy it again", layer);
        return numbered(layer);
      },
      ahead());
  EXPECT_EQ(blocks.next().layer, 0);
  EXPECT_EQ(blocks.next().layer, 1);
  expect_words(message_of<ResourceError>([&] { blocks.next(); }), {"layer 2: is damaged"});
}

// A device without room for the block that comes is an error of that block, too.
TEST_P(BlockStreamTest, NoRoomOnTheDevice) {
  const test::DeviceDouble small(kWeights * sizeof(float) * 3 / 2);
  BlockStream blocks(
      small, {0, 1}, [](int layer) { return numbered(layer, (1 + layer) * kWeights); }, ahead());
  EXPECT_EQ(blocks.next().layer, 0);
  expect_words(message_of<ResourceError>([&] { blocks.next(); }), {"device double", "expected room"});
}

// An end in the middle, of an evaluation that failed for instance, waits for the worker.
TEST(BlockStream, EndsInTheMiddle) {
  const test::DeviceDouble device;
  std::atomic<int> loaded = 0;
  {
    BlockStream blocks(device, {0, 1, 2}, [&](int layer) {
      if (layer == 1) std::this_thread::sleep_for(30ms);
      BlockWeights b = numbered(layer);
      ++loaded;
      return b;
    });
    blocks.next();
  }
  EXPECT_EQ(loaded, 2);
  EXPECT_EQ(device.device_memory().in_use, 0u);
}

TEST_P(BlockStreamTest, BlocksOfACheckpoint) {
  const CheckpointSource source(std::string(SAGE_TEST_DATA) + "/hf/opt");
  const Family& family = find_family(source.config());
  const auto layers = static_cast<int>(source.config().layers);
  BlockStream blocks(
      device_, {0, layers - 1}, [&](int layer) { return load_block(family, source, layer); }, ahead());
  for (const int layer : {0, layers - 1}) {
    const BlockWeights expected = load_block(family, source, layer);
    const BlockWeights& b = blocks.next();
    EXPECT_EQ(b.layer, layer);
    EXPECT_EQ(b.bias, expected.bias);
    EXPECT_EQ(b.norm, expected.norm);
    EXPECT_EQ(b.shift, expected.shift);
    for (size_t r = 0; r < kLinearRoles; ++r) {
      ASSERT_EQ(b.linear[r].size(), expected.linear[r].size());
      EXPECT_TRUE(std::equal(b.linear[r].data(), b.linear[r].data() + b.linear[r].size(), expected.linear[r].data()));
    }
  }
}

}  // namespace
}  // namespace sage
