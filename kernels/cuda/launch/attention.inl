// Launch wrappers of the attention kernels; included by compiled/attention.cu (nvcc) and kernels/cuda_on_cpu/attention.cpp
// (executor).
#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/device/attention.cuh"
#include "kernels/cuda/launch/walk.h"

namespace KX_NAMESPACE {
namespace {

template <class Tile>
int launch_tile(const sage::cuda::AttentionArguments& a, kx::Stream stream) {
  const bool wide = a.head_dim % 4 == 0 && rows_of_16_bytes({a.q, a.ldq}, a.length) &&
                    rows_of_16_bytes({a.k, a.ldk}, a.length) && rows_of_16_bytes({a.v, a.ldv}, a.length);
  return kx::launch("attention", dim3(static_cast<unsigned>(divide_up(a.length, Tile::kQueries) * a.heads)),
                    dim3(Tile::kThreads), Tile::kSharedBytes, stream,
                    wide ? attention_kernel<Tile, true> : attention_kernel<Tile, false>, a);
}

int launch_attention(const sage::cuda::AttentionArguments& a, kx::Stream stream) {
  if (a.length <= 0) return 0;
  if (a.head_dim <= 32) return launch_tile<AttentionTile<32, 64, 64, 16>>(a, stream);
  if (a.head_dim <= 64) return launch_tile<AttentionTile<64, 64, 64, 16>>(a, stream);
  if (a.head_dim <= 128) return launch_tile<AttentionTile<128, 64, 64, 16>>(a, stream);
  return launch_tile<AttentionTile<256, 32, 32, 8>>(a, stream);
}

sage::cuda::AttentionKernels attention_kernels() {
  sage::cuda::AttentionKernels k;
  k.attention = launch_attention;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
