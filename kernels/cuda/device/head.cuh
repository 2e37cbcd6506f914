// The output head's kernels: from tiles of logits (positions x tokens, row-major, contiguous) to likelihoods and divergences.
//
// gather_rows_kernel   out[p] = x[index[p]]: positions that are asked about, next to one another. Elementwise.
// scan_kernel          per position: largest logit and its lowest token, sum exp(logit - largest), the target's logit.
// scan_pair_kernel     the same of a reference r and of the own side l, and cross = sum exp(r - largest r) (r - l).
// finish_kernel        nll = largest + log(sum) - target's logit, top1. One thread a position.
// finish_pair_kernel   KL(P_ref || P) = sum p_ref (r - l) - log sum exp r + log sum exp l, with p_ref = exp(r - largest r) /
// sum.
//
// Scans: a block takes a position at a time. Its threads walk the row 8 elements at once, blockDim apart (coalesced), and keep
// a running maximum, to which the sums are rescaled whenever it grows; so each logit is read once, 4 bytes (8 of a pair). Then
// the block's largest (one 64-bit key: ordered logit, then token), the sums rescaled to it, and one thread merges them into the
// position's state. Exponentials are FP32, 8 of them are summed pairwise in FP32, all beyond that in FP64: relative error of a
// sum some 2^-22. Bound: memory, up to about 20 instructions a logit, one of them an exponential.
//
// Sums have a fixed order (element, thread, warp shuffles, warps, slices): results do not depend on scheduling.
#pragma once

#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

constexpr int kScanThreads = 256;
constexpr int kScanWarps = kScanThreads / 32;
constexpr int kScanStep = 8;  // elements a thread takes at once
constexpr int kNoToken = 0x7fffffff;

// What logits are taken relative to: any finite number will do where all are -inf, and exp(-inf - largest) must not be NaN.
__device__ __forceinline__ float shift_of(float largest) { return largest == -kx::kInfinity ? 0.0f : largest; }

// Orders by logit, then by lower token. -0 and +0 are one logit: + 0 makes both +0.
__device__ __forceinline__ unsigned long long logit_key(float logit, int token) {
  const unsigned bits = __float_as_uint(logit + 0.0f);
  const unsigned ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(ordered) << 32 | static_cast<unsigned>(~token);
}
__device__ __forceinline__ float key_logit(unsigned long long key) {
  const unsigned ordered = static_cast<unsigned>(key >> 32);
  return __uint_as_float((ordered & 0x80000000u) != 0 ? ordered & 0x7fffffffu : ~ordered);
}
__device__ __forceinline__ int key_token(unsigned long long key) { return static_cast<int>(~static_cast<unsigned>(key)); }

__device__ __forceinline__ unsigned long long warp_max(unsigned long long key) {
  for (int d = 16; d > 0; d /= 2) {
    const unsigned long long other = __shfl_xor_sync(0xffffffffu, key, d);
    key = other > key ? other : key;
  }
  return key;
}
__device__ __forceinline__ double warp_sum(double v) {
  for (int d = 16; d > 0; d /= 2)
    v += __shfl_xor_sync(0xffffffffu, v, d);
  return v;
}

// A thread's part of one side of a row.
struct RunningSoftmax {
  float largest = -kx::kInfinity;
  int top = kNoToken;
  double sum = 0;

  // Takes the maximum of logits that are `stride` tokens apart; returns what sums so far are to be multiplied by.
  __device__ __forceinline__ float raise(const float (&logit)[kScanStep], int64_t token, int stride) {
    const float before = largest;
    for (int c = 0; c < kScanStep; ++c)
      if (logit[c] > largest) {
        largest = logit[c];
        top = static_cast<int>(token + c * stride);
      }
    return largest > before ? expf(before - largest) : 1.0f;
  }
};

__device__ __forceinline__ float pairwise_sum(const float (&v)[kScanStep]) {
  static_assert(kScanStep == 8);
  return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

// Places beyond the row are -inf: they are never the largest, and their exponential is 0.
__device__ __forceinline__ void load_step(const float* row, int64_t first, int64_t tokens, float (&logit)[kScanStep]) {
  for (int c = 0; c < kScanStep; ++c) {
    const int64_t j = first + c * kScanThreads;
    logit[c] = j < tokens ? row[j] : -kx::kInfinity;
  }
}

// The block's part of a row, with `largest` at first_token + token, into the state of slices before.
__device__ __forceinline__ void merge(sage::cuda::SoftmaxState& state, unsigned long long key, double sum, double cross,
                                      int64_t first_token) {
  if (first_token == 0) state = {0.0, 0.0, -kx::kInfinity, 0};
  const float largest = key_logit(key);
  if (largest > state.largest) {
    const double shrink = exp(static_cast<double>(state.largest) - static_cast<double>(shift_of(largest)));
    state = {state.sum * shrink + sum, state.cross * shrink + cross, largest,
             static_cast<int32_t>(first_token + key_token(key))};
  } else {
    const double shrink = exp(static_cast<double>(largest) - static_cast<double>(shift_of(state.largest)));
    state.sum += sum * shrink;
    state.cross += cross * shrink;
  }
}

__global__ void gather_rows_kernel(const float* x, int64_t ldx, const int32_t* index, int64_t rows, int64_t cols, float* out) {
  for (int64_t p = blockIdx.y; p < rows; p += gridDim.y)
    for (int64_t j = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; j < cols; j += int64_t{gridDim.x} * blockDim.x)
      out[p * cols + j] = x[index[p] * ldx + j];
}

__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(const float* logits, int64_t positions, int64_t tokens, int64_t first_token, const int32_t* target,
                sage::cuda::SoftmaxState* state, float* wanted) {
  __shared__ unsigned long long keys[kScanWarps];
  __shared__ double sums[kScanWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int64_t p = blockIdx.x; p < positions; p += gridDim.x) {
    const float* row = logits + p * tokens;
    RunningSoftmax own;
    float l[kScanStep];
    for (int64_t j = threadIdx.x; j < tokens; j += kScanStep * kScanThreads) {
      load_step(row, j, tokens, l);
      own.sum *= own.raise(l, j, kScanThreads);
      const float shift = shift_of(own.largest);
      for (float& v : l)
        v = expf(v - shift);
      own.sum += pairwise_sum(l);
    }
    unsigned long long key = warp_max(logit_key(own.largest, own.top));
    if (lane == 0) keys[warp] = key;
    __syncthreads();
    for (int w = 0; w < kScanWarps; ++w)
      key = keys[w] > key ? keys[w] : key;
    const double sum = warp_sum(own.sum * expf(own.largest - shift_of(key_logit(key))));
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      double total = 0;
      for (double s : sums)
        total += s;
      merge(state[p], key, total, 0, first_token);
      if (target != nullptr) {
        const int64_t id = int64_t{target[p]} - first_token;
        if (id >= 0 && id < tokens) wanted[p] = row[id];
      }
    }
  }
}

__global__ void __launch_bounds__(kScanThreads)
    scan_pair_kernel(const float* logits_ref, const float* logits, int64_t positions, int64_t tokens, int64_t first_token,
                     const int32_t* target, sage::cuda::SoftmaxState* state_ref, sage::cuda::SoftmaxState* state,
                     float* wanted) {
  __shared__ unsigned long long keys_ref[kScanWarps], keys_own[kScanWarps];
  __shared__ double sums_ref[kScanWarps], sums_own[kScanWarps], crosses[kScanWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int64_t p = blockIdx.x; p < positions; p += gridDim.x) {
    const float *row_ref = logits_ref + p * tokens, *row = logits + p * tokens;
    RunningSoftmax ref, own;
    double cross = 0;
    float r[kScanStep], l[kScanStep];
    for (int64_t j = threadIdx.x; j < tokens; j += kScanStep * kScanThreads) {
      load_step(row_ref, j, tokens, r);
      load_step(row, j, tokens, l);
      const float shrink = ref.raise(r, j, kScanThreads);
      ref.sum *= shrink;
      cross *= shrink;
      own.sum *= own.raise(l, j, kScanThreads);
      const float shift_ref = shift_of(ref.largest), shift = shift_of(own.largest);
      float weighted[kScanStep];
      for (int c = 0; c < kScanStep; ++c) {
        const float difference = r[c] - l[c];
        r[c] = expf(r[c] - shift_ref);
        l[c] = expf(l[c] - shift);
        weighted[c] = j + c * kScanThreads < tokens ? r[c] * difference : 0.0f;  // beyond the row: inf - inf
      }
      ref.sum += pairwise_sum(r);
      own.sum += pairwise_sum(l);
      cross += pairwise_sum(weighted);
    }
    unsigned long long key_ref = warp_max(logit_key(ref.largest, ref.top)), key = warp_max(logit_key(own.largest, own.top));
    if (lane == 0) {
      keys_ref[warp] = key_ref;
      keys_own[warp] = key;
    }
    __syncthreads();
    for (int w = 0; w < kScanWarps; ++w) {
      key_ref = keys_ref[w] > key_ref ? keys_ref[w] : key_ref;
      key = keys_own[w] > key ? keys_own[w] : key;
    }
    const double scale_ref = expf(ref.largest - shift_of(key_logit(key_ref)));
    const double sum_ref = warp_sum(ref.sum * scale_ref), sum_cross = warp_sum(cross * scale_ref);
    const double sum = warp_sum(own.sum * expf(own.largest - shift_of(key_logit(key))));
    if (lane == 0) {
      sums_ref[warp] = sum_ref;
      sums_own[warp] = sum;
      crosses[warp] = sum_cross;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      double total_ref = 0, total = 0, total_cross = 0;
      for (int w = 0; w < kScanWarps; ++w) {
        total_ref += sums_ref[w];
        total += sums_own[w];
        total_cross += crosses[w];
      }
      merge(state_ref[p], key_ref, total_ref, total_cross, first_token);
      merge(state[p], key, total, 0, first_token);
      if (target != nullptr) {
        const int64_t id = int64_t{target[p]} - first_token;
        if (id >= 0 && id < tokens) wanted[p] = row[id];
      }
    }
  }
}

__device__ __forceinline__ double log_sum_exp(const sage::cuda::SoftmaxState& s) {
  return static_cast<double>(s.largest) + log(s.sum);
}

__global__ void finish_kernel(const sage::cuda::SoftmaxState* state, const float* wanted, const int32_t* target,
                              const int32_t* slot, int64_t positions, double* nll, int32_t* top1) {
  for (int64_t t = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < positions; t += int64_t{gridDim.x} * blockDim.x) {
    const int64_t p = slot == nullptr ? t : slot[t];
    if (nll != nullptr) nll[t] = p < 0 || target[p] < 0 ? 0.0 : log_sum_exp(state[p]) - static_cast<double>(wanted[p]);
    if (top1 != nullptr) top1[t] = state[p].top;
  }
}

__global__ void finish_pair_kernel(const sage::cuda::SoftmaxState* state_ref, const sage::cuda::SoftmaxState* state,
                                   int64_t positions, double* kl, uint8_t* agree) {
  for (int64_t t = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; t < positions; t += int64_t{gridDim.x} * blockDim.x) {
    const sage::cuda::SoftmaxState ref = state_ref[t], own = state[t];
    kl[t] = ref.cross / ref.sum - log_sum_exp(ref) + log_sum_exp(own);
    agree[t] = ref.top == own.top ? 1 : 0;
  }
}

}  // namespace KX_NAMESPACE
