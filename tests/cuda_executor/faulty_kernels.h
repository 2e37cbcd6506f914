// Kernels with one planted fault each, and what they should have been. The comments that end lines are names for the tests.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

// ---- rules that the engine checks ----
__global__ void divergent_barrier(float* p) {
  if (threadIdx.x < 16) {
    __syncthreads();  // first arm
    p[threadIdx.x] = 1.0f;
  } else {
    __syncthreads();  // second arm
  }
}
__global__ void divergent_vote(float* p) {
  const bool low = threadIdx.x < 16;
  // clang-format off
  if (low) __syncthreads(); else p[threadIdx.x] = static_cast<float>(__syncthreads_or(1));  // vote or not
  // clang-format on
}
__global__ void early_exit(float* p, unsigned n) {
  if (threadIdx.x >= n) return;
  __syncthreads();  // some never come
  p[threadIdx.x] = 1.0f;
}
__global__ void half_a_warp_shuffles(float* p) {
  float v = 1.0f;
  if ((threadIdx.x & 1) != 0) v += __shfl_xor_sync(0xffffffffu, v, 2);  // odd lanes only
  p[threadIdx.x] = v;
  __syncthreads();  // even lanes wait here
}
__global__ void waits_for_another_mask(float* p) {
  const unsigned mask = (threadIdx.x & 1) != 0 ? 0xffffffffu : 0x55555557u;  // lane 1 is in both, and waits with one
  p[threadIdx.x] = static_cast<float>(__ballot_sync(mask, 1));               // masks differ
}
__global__ void absent_lane(float* p) {
  if (threadIdx.x < 16) p[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 20);  // lane 20
}
__global__ void returned_lane(float* p) {
  if (threadIdx.x == 5) return;
  p[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);  // lane 5
}
__global__ void mask_without_own_lane(float* p) {
  p[threadIdx.x] = static_cast<float>(__ballot_sync(0x7fffffffu, 1));  // lane 31 too
}
__global__ void odd_width(float* p) {
  p[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1, 12);  // width 12
}
__global__ void divergent_collective(float* p) {
  if (threadIdx.x % 32 < 16)
    p[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);  // a shuffle
  else
    p[threadIdx.x] = static_cast<float>(__ballot_sync(0xffffffffu, 1));  // a ballot
}
__global__ void fault_in_one_block(float* p, unsigned x, unsigned y) {
  if (blockIdx.x == x && blockIdx.y == y && threadIdx.x == 0) return;
  __syncthreads();  // short of one
  p[threadIdx.x] = 1.0f;
}

__global__ void misaligned_load(float* p) {
  p[0] = __ldg(reinterpret_cast<const float4*>(p + 1)).x;  // 4 bytes off
}
__global__ void misaligned_store(float* p) {
  __stcs(reinterpret_cast<float2*>(p + 1), make_float2(0.0f, 0.0f));  // off too
}

// ---- synchronisation that is missing ----
__global__ void reads_unwritten(float* p) {
  KX_DYNAMIC_SHARED(float, s);
  if (threadIdx.x != 0) s[threadIdx.x] = 1.0f;
  __syncthreads();
  p[threadIdx.x] = s[threadIdx.x ^ 1u];
}
template <bool kSound>
__global__ void mirror(float* p) {
  KX_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = static_cast<float>(threadIdx.x);  // mirror writes
  if (kSound) __syncthreads();
  p[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];  // mirror reads
}
template <bool kSound>
__global__ void last_block_mirrors(float* p) {  // all blocks but the last are sound
  KX_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = static_cast<float>(threadIdx.x);  // last writes
  if (kSound || blockIdx.x + 1 < gridDim.x) __syncthreads();
  p[threadIdx.x] = s[blockDim.x - 1 - threadIdx.x];  // last reads
}
template <bool kSound>
__global__ void sums_of_warps(float* p) {  // the fault is behind a sound barrier
  KX_DYNAMIC_SHARED(float, s);
  __syncthreads();
  if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = 1.0f;  // sum writes
  if (kSound) __syncthreads();
  if (threadIdx.x != 0) return;
  float sum = 0.0f;
  for (unsigned w = 0; w < blockDim.x / 32; ++w)
    sum += s[w];  // sum reads
  p[0] = sum;
}
template <bool kSound>
__global__ void tile_loop(float* p) {  // the classic: a tile is overwritten while others still read it
  KX_DYNAMIC_SHARED(float, s);
  float sum = 0.0f;
  for (int k = 0; k < 4; ++k) {
    s[threadIdx.x] = static_cast<float>(threadIdx.x + k);  // tile writes
    __syncthreads();
    sum += s[(threadIdx.x + 1) % blockDim.x];  // tile reads
    if (kSound) __syncthreads();
  }
  p[threadIdx.x] = sum;
}
template <bool kSound>
__global__ void swap_neighbours(float* p) {
  KX_DYNAMIC_SHARED(float, s);
  s[threadIdx.x] = static_cast<float>(threadIdx.x);  // swap writes
  if (kSound) __syncwarp();
  p[threadIdx.x] = s[threadIdx.x ^ 1u];  // swap reads
}
__global__ void static_tile_without_barrier(float* p) {
  __shared__ float s[64];
  s[threadIdx.x] = static_cast<float>(threadIdx.x);  // static writes
  p[threadIdx.x] = s[63 - threadIdx.x];              // static reads
}
template <bool kSound>
__global__ void blocks_add(float* p) {
  if (kSound)
    atomicAdd(p, 1.0f);
  else
    p[0] += 1.0f;  // blocks meet
}

// ---- memory ----
__global__ void global_overrun(float* p, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i <= n) p[i] = 1.0f;  // past the end
}
__global__ void global_underrun(const float* p, float* out) {
  out[threadIdx.x] = p[static_cast<int>(threadIdx.x) - 1];  // before the start
}
__global__ void dynamic_overrun(float* p) {
  KX_DYNAMIC_SHARED(float, s);
  s[threadIdx.x + 1] = 1.0f;  // past dynamic
  __syncthreads();
  p[threadIdx.x] = s[threadIdx.x];
}
__global__ void static_overrun(float* p) {
  __shared__ float s[64];
  float* through = s;               // an index into the array itself is found by its bounds alone
  through[threadIdx.x + 1] = 1.0f;  // past static
  __syncthreads();
  p[threadIdx.x] = s[threadIdx.x];
}

}  // namespace KX_NAMESPACE
