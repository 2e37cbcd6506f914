// Launch wrappers of the calibration kernels; included by compiled/calibration.cu (nvcc) and
// kernels/cuda_on_cpu/calibration.cpp (executor).
#include "kernels/cuda/calibration_kernels.h"
#include "kernels/cuda/device/calibration.cuh"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

constexpr int kThreads = 256;

int launch_widen(const float* x, int64_t ldx, int64_t rows, int64_t cols, double* out, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  return kx::launch("widen", elementwise_grid(rows, cols, kThreads), dim3(kThreads), 0, stream, widen_kernel, x, ldx, rows,
                    cols, out);
}

int launch_subtract_outer(const float* u, const float* e, float* x, int64_t ldx, int64_t rows, int64_t cols,
                          kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  return kx::launch("subtract_outer", elementwise_grid(rows, cols, kThreads), dim3(kThreads), 0, stream, subtract_outer_kernel,
                    u, e, x, ldx, rows, cols);
}

sage::cuda::CalibrationKernels calibration_kernels() {
  sage::cuda::CalibrationKernels k;
  k.widen = launch_widen;
  k.subtract_outer = launch_subtract_outer;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
