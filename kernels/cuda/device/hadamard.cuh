// Walsh-Hadamard transform of rows: y = H x / sqrt(n), H[i][j] = (-1)^popcount(i & j), n a power of two, in place, in FP32.
//
// hadamard_kernel: a group of min(n / 8, 512) threads (at least one) transforms a row of up to 2^14 columns in shared memory,
// three levels at a time: eight values in registers, 12 additions each way, one barrier. Short rows share a block. Shared
// memory is padded by one word in 32, so that lanes eight words apart use different banks. hadamard_stride_kernel: three levels
// (or the one or two that are left) of longer rows in global memory, a thread eight values `h` apart; neighbouring threads are
// neighbouring columns. Values are scaled as they are first read, as on the CPU: sums of large values then overflow no sooner
// than results do. Bytes: 8 per weight up to 2^14 columns, 8 more for every three levels above. Bound: memory; shared memory
// moves 2 + 2 ceil(log2(n) / 3) words per weight. Determinism: every value is a fixed tree of additions.
#pragma once

#include "kernels/cuda/device/weights.cuh"

namespace KX_NAMESPACE {

constexpr int kMostSharedLevels = 14;  // 66 KB of shared memory
constexpr int kMostHadamardThreads = 512;
constexpr int kStrideThreads = 256;

__device__ __forceinline__ int padded(int i) { return i + (i >> 5); }

// kLevels levels on 2^kLevels values.
template <int kLevels>
__device__ __forceinline__ void butterflies(float (&x)[1 << kLevels]) {
  for (int h = 1; h < 1 << kLevels; h *= 2) {
    for (int j = 0; j < 1 << kLevels; ++j) {
      if (j & h) continue;
      const float a = x[j], b = x[j + h];
      x[j] = a + b;
      x[j + h] = a - b;
    }
  }
}

// The first of 2^kLevels positions 2^log_h apart that butterfly number b works on.
template <int kLevels, class Int>
__device__ __forceinline__ Int first_of(Int b, int log_h) {
  const Int low = (Int{1} << log_h) - 1;
  return (b & ~low) << kLevels | (b & low);
}

template <int kLevels>
__device__ __forceinline__ void shared_levels(float* row, int log_n, int log_h, int thread, int threads) {
  for (int b = thread; b < 1 << log_n >> kLevels; b += threads) {
    const int first = first_of<kLevels>(b, log_h);
    float x[1 << kLevels];
    for (int k = 0; k < 1 << kLevels; ++k)
      x[k] = row[padded(first + (k << log_h))];
    butterflies<kLevels>(x);
    for (int k = 0; k < 1 << kLevels; ++k)
      row[padded(first + (k << log_h))] = x[k];
  }
}

// Transforms segments of 2^log_n columns; a row has 2^log_segments of them. threads: of a segment, a power of two.
__global__ void __launch_bounds__(kMostHadamardThreads)
    hadamard_kernel(float* data, int64_t ld, int64_t segments, int log_segments, int log_n, float scale, int threads) {
  KX_DYNAMIC_SHARED(float, values);
  const int per_block = static_cast<int>(blockDim.x) / threads, pitch = padded(1 << log_n);
  const int64_t first = int64_t{blockIdx.x} * per_block;
  const int present = static_cast<int>(segments - first < per_block ? segments - first : per_block);
  const auto address = [&](int e) {
    const int64_t s = first + (e >> log_n);
    return data + (s >> log_segments) * ld + ((s & ((int64_t{1} << log_segments) - 1)) << log_n) + (e & ((1 << log_n) - 1));
  };
  const auto place = [&](int e) { return (e >> log_n) * pitch + padded(e & ((1 << log_n) - 1)); };
  for (int e = static_cast<int>(threadIdx.x); e < present << log_n; e += static_cast<int>(blockDim.x))
    values[place(e)] = *address(e) * scale;
  const int own = static_cast<int>(threadIdx.x) / threads, thread = static_cast<int>(threadIdx.x) % threads;
  float* row = values + own * pitch;
  for (int log_h = 0; log_h < log_n;) {
    __syncthreads();
    const int levels = log_n - log_h < 3 ? log_n - log_h : 3;
    if (own < present) {
      if (levels == 3)
        shared_levels<3>(row, log_n, log_h, thread, threads);
      else if (levels == 2)
        shared_levels<2>(row, log_n, log_h, thread, threads);
      else
        shared_levels<1>(row, log_n, log_h, thread, threads);
    }
    log_h += levels;
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < present << log_n; e += static_cast<int>(blockDim.x))
    *address(e) = values[place(e)];
}

template <int kLevels>
__global__ void __launch_bounds__(kStrideThreads)
    hadamard_stride_kernel(float* data, int64_t ld, int64_t rows, int log_n, int log_h) {
  const int64_t n = int64_t{1} << log_n >> kLevels;
  for (int64_t i = blockIdx.y; i < rows; i += gridDim.y) {
    for (int64_t b = int64_t{blockIdx.x} * kStrideThreads + threadIdx.x; b < n; b += int64_t{gridDim.x} * kStrideThreads) {
      float* first = data + i * ld + first_of<kLevels>(b, log_h);
      float x[1 << kLevels];
      for (int k = 0; k < 1 << kLevels; ++k)
        x[k] = first[int64_t{k} << log_h];
      butterflies<kLevels>(x);
      for (int k = 0; k < 1 << kLevels; ++k)
        first[int64_t{k} << log_h] = x[k];
    }
  }
}

}  // namespace KX_NAMESPACE
