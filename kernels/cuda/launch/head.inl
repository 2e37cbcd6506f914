// Launch wrappers of the head kernels; included by compiled/head.cu (nvcc) and kernels/cuda_on_cpu/head.cpp (executor).
#include "kernels/cuda/device/head.cuh"
#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

constexpr int kThreads = 256;

// One block a position, or one thread a position.
dim3 blocks(int64_t n) { return dim3(static_cast<unsigned>(std::min<int64_t>(n, 1 << 20))); }

int launch_gather_rows(const float* x, int64_t ldx, const int32_t* index, int64_t rows, int64_t cols, float* out,
                       kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  return kx::launch("gather_rows", elementwise_grid(rows, cols, kThreads), dim3(kThreads), 0, stream, gather_rows_kernel, x,
                    ldx, index, rows, cols, out);
}

int launch_scan(const float* logits, int64_t positions, int64_t tokens, int64_t first_token, const int32_t* target,
                sage::cuda::SoftmaxState* state, float* wanted, kx::Stream stream) {
  if (positions <= 0 || tokens <= 0) return 0;
  return kx::launch("scan", blocks(positions), dim3(kScanThreads), 0, stream, scan_kernel, logits, positions, tokens,
                    first_token, target, state, wanted);
}

int launch_scan_pair(const float* logits_ref, const float* logits, int64_t positions, int64_t tokens, int64_t first_token,
                     const int32_t* target, sage::cuda::SoftmaxState* state_ref, sage::cuda::SoftmaxState* state, float* wanted,
                     kx::Stream stream) {
  if (positions <= 0 || tokens <= 0) return 0;
  return kx::launch("scan_pair", blocks(positions), dim3(kScanThreads), 0, stream, scan_pair_kernel, logits_ref, logits,
                    positions, tokens, first_token, target, state_ref, state, wanted);
}

int launch_finish(const sage::cuda::SoftmaxState* state, const float* wanted, const int32_t* target, const int32_t* slot,
                  int64_t positions, double* nll, int32_t* top1, kx::Stream stream) {
  if (positions <= 0) return 0;
  return kx::launch("finish", blocks(divide_up(positions, kThreads)), dim3(kThreads), 0, stream, finish_kernel, state, wanted,
                    target, slot, positions, nll, top1);
}

int launch_finish_pair(const sage::cuda::SoftmaxState* state_ref, const sage::cuda::SoftmaxState* state, int64_t positions,
                       double* kl, uint8_t* agree, kx::Stream stream) {
  if (positions <= 0) return 0;
  return kx::launch("finish_pair", blocks(divide_up(positions, kThreads)), dim3(kThreads), 0, stream, finish_pair_kernel,
                    state_ref, state, positions, kl, agree);
}

sage::cuda::HeadKernels head_kernels() {
  sage::cuda::HeadKernels k;
  k.gather_rows = launch_gather_rows;
  k.scan = launch_scan;
  k.scan_pair = launch_scan_pair;
  k.finish = launch_finish;
  k.finish_pair = launch_finish_pair;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
