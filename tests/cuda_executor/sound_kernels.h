// Correct kernels that use everything, on integers that float holds exactly: each result has a closed form and no order.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

__device__ __forceinline__ float warp_sum(float v) {
  for (int offset = 16; offset > 0; offset /= 2)
    v += __shfl_xor_sync(0xffffffffu, v, offset);
  return v;
}

// out[block] = sum of x over the block's row of `cols`; total gets all of them, by one atomic per block.
__global__ void __launch_bounds__(128) row_sums(const float* __restrict__ x, int cols, float* out, unsigned long long* total) {
  __shared__ float part[4];
  float sum = 0.0f;
  for (int j = static_cast<int>(threadIdx.x); j < cols; j += static_cast<int>(blockDim.x))
    sum += __ldg(x + static_cast<size_t>(blockIdx.x) * cols + j);
  sum = warp_sum(sum);
  __syncthreads();  // the block before may have had its last reads
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = warp_sum(threadIdx.x < 4 ? part[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) {
      out[blockIdx.x] = sum;
      atomicAdd(total, static_cast<unsigned long long>(sum));
    }
  }
}

// c = a b, row-major, through tiles of T x T.
template <int T>
__global__ void __launch_bounds__(T* T) matmul(const float* a, const float* b, float* c, int m, int n, int k) {
  KX_DYNAMIC_SHARED(float, tiles);  // 2 T T
  float *ta = tiles, *tb = tiles + T * T;
  const int y = static_cast<int>(threadIdx.y), x = static_cast<int>(threadIdx.x);
  const int row = static_cast<int>(blockIdx.y) * T + y, col = static_cast<int>(blockIdx.x) * T + x;
  float sum = 0.0f;
  for (int k0 = 0; k0 < k; k0 += T) {
    ta[y * T + x] = row < m && k0 + x < k ? a[row * k + k0 + x] : 0.0f;
    tb[y * T + x] = k0 + y < k && col < n ? b[(k0 + y) * n + col] : 0.0f;
    __syncthreads();
    for (int i = 0; i < T; ++i)
      sum = fmaf(ta[y * T + i], tb[i * T + x], sum);
    __syncthreads();
  }
  if (row < m && col < n) c[row * n + col] = sum;
}

// Inclusive prefix sums of each warp's 32 values, then reversed within the warp through shared memory.
__global__ void scan_and_reverse(const float* x, float* out) {
  KX_DYNAMIC_SHARED(float, s);
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
  float v = x[i];
  for (unsigned d = 1; d < 32; d *= 2) {
    const float below = __shfl_up_sync(0xffffffffu, v, d);
    if (lane >= d) v += below;
  }
  s[threadIdx.x] = v;
  __syncwarp();
  out[i] = s[threadIdx.x ^ 31u];
}

// Counts of x modulo 7, gathered in shared memory first.
__global__ void histogram(const float* x, int n, float* out) {
  KX_DYNAMIC_SHARED(int, counts);
  if (threadIdx.x < 7) counts[threadIdx.x] = 0;
  __syncthreads();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) atomicAdd(counts + static_cast<int>(x[i]) % 7, 1);
  __syncthreads();
  if (threadIdx.x < 7) atomicAdd(out + threadIdx.x, static_cast<float>(counts[threadIdx.x]));
}

}  // namespace KX_NAMESPACE
