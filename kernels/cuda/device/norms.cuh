// Norms over rows: one block a row, which it stages in shared memory where it fits (kStaged), else reads again from the cache.
// Thread t owns the columns t, t + threads, ...; it reads and writes no others, so y may be x.
//
// Bound by memory: 8 bytes per element (gains and shifts come from the cache). Sums are double, per thread over its columns in
// order, then a fixed tree over the block: the result depends on the row and the number of threads (a function of cols) alone.
// FP32 sums would not do: of a row with mean 1000 and deviation 3, an FP32 mean is off by 1e-5 of the deviation. It is 2 FP64
// operations per element and sum, conversion included, which even a device with 1/64 of its FP32 rate in FP64 performs faster
// than its memory delivers rows. What follows the sums is FP32, three roundings per result.
#pragma once

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

constexpr int kMostNormThreads = 256;

// The sum of all threads' values, in each of them. partial: shared, one element a warp, used for one sum only.
__device__ __forceinline__ double block_sum(double v, double* partial) {
  for (int distance = 16; distance > 0; distance /= 2)
    v += __shfl_xor_sync(0xffffffffu, v, distance);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
  __syncthreads();
  double sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; ++w)
    sum += partial[w];
  return sum;
}

// y = x / sqrt(mean(x^2) + eps) * gamma. The reciprocal root is rounded to FP32.
template <bool kStaged>
__global__ void __launch_bounds__(kMostNormThreads)
    rms_norm_kernel(const float* x, int64_t ldx, const float* gamma, float eps, float* y, int64_t ldy, int64_t cols) {
  __shared__ double partial[kMostNormThreads / 32];
  KX_DYNAMIC_SHARED(float, staged);
  const float* row = x + int64_t{blockIdx.x} * ldx;
  float* to = y + int64_t{blockIdx.x} * ldy;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) {
    const float v = row[j];
    if (kStaged) staged[j] = v;
    sum += static_cast<double>(v) * static_cast<double>(v);
  }
  const double mean = block_sum(sum, partial) / static_cast<double>(cols);
  const auto scale = static_cast<float>(1.0 / sqrt(mean + static_cast<double>(eps)));
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x)
    to[j] = (kStaged ? staged[j] : row[j]) * scale * gamma[j];
}

// y = (x - mean) / sqrt(var + eps) * gamma + beta; var is the mean of (x - mean)^2, in a pass of its own. The mean is kept as
// two floats, high + low, so that x - mean = (x - high) - low is right to an FP32 rounding or two where x and the mean are
// close.
template <bool kStaged>
__global__ void __launch_bounds__(kMostNormThreads)
    layer_norm_kernel(const float* x, int64_t ldx, const float* gamma, const float* beta, float eps, float* y, int64_t ldy,
                      int64_t cols) {
  __shared__ double partial[2][kMostNormThreads / 32];
  KX_DYNAMIC_SHARED(float, staged);
  const float* row = x + int64_t{blockIdx.x} * ldx;
  float* to = y + int64_t{blockIdx.x} * ldy;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) {
    const float v = row[j];
    if (kStaged) staged[j] = v;
    sum += static_cast<double>(v);
  }
  const double mean = block_sum(sum, partial[0]) / static_cast<double>(cols);
  const auto high = static_cast<float>(mean), low = static_cast<float>(mean - static_cast<double>(high));
  double sq = 0;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) {
    const auto d = static_cast<double>(((kStaged ? staged[j] : row[j]) - high) - low);
    sq += d * d;
  }
  const double variance = block_sum(sq, partial[1]) / static_cast<double>(cols);
  const auto scale = static_cast<float>(1.0 / sqrt(variance + static_cast<double>(eps)));
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x)
    to[j] = (((kStaged ? staged[j] : row[j]) - high) - low) * scale * gamma[j] + beta[j];
}

}  // namespace KX_NAMESPACE
