// Launch wrappers of the kernels that code columns; included by compiled/coding.cu (nvcc) and kernels/cuda_on_cpu/coding.cpp
// (executor).
#include "kernels/cuda/coding_kernels.h"
#include "kernels/cuda/device/coding.cuh"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

// As many rows to a block as fit the shared memory every kernel may have.
int launch_code_block(const sage::cuda::CodingArguments& a, kx::Stream stream) {
  if (a.w.rows <= 0 || a.w.cols <= 0) return 0;
  constexpr int64_t kShared = int64_t{48} << 10, kMostBlocks = int64_t{1} << 20;
  const int64_t row_bytes = a.w.cols * kCodingWordsAColumn * int64_t{sizeof(float)};
  const int64_t warps = std::clamp<int64_t>(kShared / row_bytes, 1, kCodingWarps);
  const dim3 grid(static_cast<unsigned>(std::min(divide_up(a.w.rows, warps), kMostBlocks))),
      block(static_cast<unsigned>(32 * warps));
  const auto shared = static_cast<size_t>(warps * row_bytes);
  if (a.correction == sage::Correction::kColumnwise)
    return kx::launch("code_columns", grid, block, shared, stream,
                      a.steps ? code_columns_kernel<true> : code_columns_kernel<false>, a);
  return kx::launch("code_elements", grid, block, shared, stream,
                    a.steps ? code_elements_kernel<true> : code_elements_kernel<false>, a);
}

sage::cuda::CodingKernels coding_kernels() {
  sage::cuda::CodingKernels k;
  k.code_block = launch_code_block;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
