// Launch wrappers of the forward kernels; included by compiled/forward.cu (nvcc) and kernels/cuda_on_cpu/forward.cpp (executor).
#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/forward_kernels.h"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

constexpr int kThreads = 256;

int launch_add(float* x, int64_t ldx, const float* y, int64_t ldy, int64_t rows, int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  return kx::launch("add", elementwise_grid(rows, cols, kThreads), dim3(kThreads), 0, stream, add_kernel, x, ldx, y, ldy, rows, cols);
}

sage::cuda::ForwardKernels forward_kernels() {
  sage::cuda::ForwardKernels k;
  k.add = launch_add;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
