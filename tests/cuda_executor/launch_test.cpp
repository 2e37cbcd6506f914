// Launches: what is refused, what runs where, and that neither order nor workers change results.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/cuda_on_cpu/executor/device_buffer.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {
namespace {

__global__ void add_index(unsigned* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  atomicAdd(out + block * blockDim.x * blockDim.y * blockDim.z + thread, thread + 1000 * block);
}

}  // namespace
}  // namespace KX_NAMESPACE

namespace kx {
namespace {

TEST(Launch, EveryThreadOfEveryBlockRunsOnce) {
  const dim3 grid(3, 2, 2), block(4, 3, 5);
  DeviceBuffer<unsigned> out(std::vector<unsigned>(12 * 60, 0));
  ASSERT_EQ(launch("add_index", grid, block, 0, nullptr, KX_NAMESPACE::add_index, out.data()), 0);
  for (unsigned i = 0; i < out.size(); ++i) ASSERT_EQ(out.download()[i], i % 60 + 1000 * (i / 60));
}

}  // namespace
}  // namespace kx
