// Codes a block of k columns, a warp a row: symbols, decoded values, and the error a compensator moves on (block_coder.h).
//
// code_columns_kernel: column by column, each corrected for the errors of those before it. A row's weights stand in shared
// memory. All lanes code the column at hand (the same loads, the same arithmetic: no lane waits for another), then share out
// the columns after it. The chain of a row is k steps of one division and one product each, some 200 cycles by the tables of
// latencies, so the device is full with a few thousand rows. Operations: k^2 / 2 products and differences a row; shared memory:
// 8 bytes for each.
//
// code_elements_kernel: all columns at once, a lane every 32nd; then kBlock's forward substitution in the same way.
//
// kSteps: whether any weight has that code. Its division in double leaves no registers for an unrolled loop.
//
// Bytes a weight: 4 read, 4 of the decoded value written, 1 for each symbol, 4 of the error, 1 of its label and 1/8 of
// ownership where there are such. Parameters and the factor's block are read through the cache: k^2 floats, the same for all
// rows. Bound: latency for code_columns_kernel, memory for the other. Determinism: every number is computed by one chain of
// rounded operations, the same as on the host: intrinsics keep the compiler from fusing products and sums.
#pragma once

#include "kernels/cuda/coding_kernels.h"
#include "kernels/cuda/device/unroll.cuh"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

constexpr int kCodingWarps = 8;         // at most, of a block
constexpr int kCodingWordsAColumn = 4;  // of shared memory: weight, decoded value, error, symbols

struct CodedWeight {
  float value;
  unsigned symbols;  // a byte each, the first lowest
};

__device__ __forceinline__ float signed_by(float magnitude, unsigned symbol) {
  return symbol == 0 ? magnitude : symbol == 1 ? -magnitude : 0.0f * magnitude;
}

__device__ __forceinline__ CodedWeight code_signs(const sage::cuda::DeviceCode& code, const float* p, float w) {
  CodedWeight out{0.0f, 0u};
  float before = 0;
  for (int o = 0; o < code.planes; ++o) {
    const float scale = __ldg(p + o), center = __ldg(p + code.planes + o), mean = __ldg(p + 2 * code.planes + o);
    const float d = __fsub_rn(__fsub_rn(w, before), center);
    const unsigned s = d < 0 ? 1u : code.keep_zero && d == 0 ? 2u : 0u;
    const float step = signed_by(scale, s);
    before = __fadd_rn(before, __fadd_rn(center, step));
    if (code.plain)
      out.value = step;
    else if (o == 0)
      out.value = __fadd_rn(mean, step);
    else
      out.value = __fadd_rn(out.value, code.merged ? step : __fadd_rn(mean, step));
    out.symbols |= s << (8 * o);
  }
  return out;
}

__device__ __forceinline__ float clamped(float v, float low, float high) {
  v = v > low ? v : low;
  return v < high ? v : high;
}

__device__ __forceinline__ CodedWeight code_grid(const sage::cuda::DeviceCode& code, const float* p, float w) {
  constexpr float kFar = 0x1p21f, kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves no fraction bits, rounded to even
  const float scale = __ldg(p), zero = __ldg(p + 1);
  const float steps = __fsub_rn(__fadd_rn(clamped(__fdiv_rn(w, scale), -kFar, kFar), kRound), kRound);
  const float q = clamped(__fadd_rn(steps, zero), 0.0f, code.largest);
  return {__fmul_rn(scale, __fsub_rn(q, zero)), static_cast<unsigned>(q)};
}

__device__ __forceinline__ CodedWeight code_trits(const float* p, float w) {
  const float high = __ldg(p), low = __ldg(p + 1);
  if (w > 0.5f * high) return {high, 2u};
  if (w < 0.5f * low) return {low, 0u};
  return {0.0f, 1u};
}

__device__ __forceinline__ CodedWeight code_steps(const sage::cuda::DeviceCode& code, const float* p, float w) {
  const float step = __ldg(p);
  int q = 0;
  if (step > 0) {
    double y = __ddiv_rn(__dsub_rn(static_cast<double>(fabsf(w)), static_cast<double>(code.offset)), static_cast<double>(step));
    y = y > 0 ? y : 0;
    y = y < static_cast<double>(code.largest) ? y : static_cast<double>(code.largest);
    q = static_cast<int>(code.midrise ? y : __dadd_rn(y, 0.5));
  }
  const auto k = static_cast<float>(q);
  float v = __fmul_rn(step, code.midrise ? __fadd_rn(k, 0.5f) : k);
  if (code.shifted) v = __fadd_rn(code.offset, v);
  const bool negative = w < 0;
  return {negative ? -v : v, static_cast<unsigned>(negative ? q + static_cast<int>(code.largest) + 1 : q)};
}

template <bool kSteps>
__device__ __forceinline__ CodedWeight code_weight(const sage::cuda::CodingArguments& a, int64_t row, int c, float w) {
  const sage::cuda::DeviceColumn& column = a.columns[c];
  const int slot = a.second == nullptr ? 0 : static_cast<int>(a.second[row * a.row_words + (c >> 6)] >> (c & 63) & 1u);
  const int number = column.code[slot];
  if (number < 0) return {0.0f, 0u};
  const sage::cuda::DeviceCode& code = a.codes[number];
  int64_t unit = code.row_units * row + column.unit[slot];
  if (code.row_labels != nullptr) unit += code.row_labels[row * code.row_label_step + column.block[slot]];
  if (code.weight_labels) unit += a.labels[row * a.w.cols + c];
  const float* p = code.parameters + unit * code.stride;
  switch (code.kind) {
    case sage::ElementCode::Kind::kSigns: return code_signs(code, p, w);
    case sage::ElementCode::Kind::kPositive: return w > 0 ? CodedWeight{__ldg(p), 0u} : CodedWeight{0.0f, 1u};
    case sage::ElementCode::Kind::kGrid: return code_grid(code, p, w);
    case sage::ElementCode::Kind::kTrits: return code_trits(p, w);
    case sage::ElementCode::Kind::kSteps:
      if constexpr (kSteps) return code_steps(code, p, w);
  }
  return {0.0f, 0u};
}

// A row's part of shared memory.
struct CodingRow {
  float* x;
  int k;
  __device__ __forceinline__ CodingRow(float* shared, int warp, int columns)
      : x(shared + warp * kCodingWordsAColumn * columns), k(columns) {}
  __device__ __forceinline__ float* decoded() const { return x + k; }
  __device__ __forceinline__ float* error() const { return x + 2 * k; }
  __device__ __forceinline__ unsigned* symbols() const { return reinterpret_cast<unsigned*>(x + 3 * k); }
};

__device__ __forceinline__ void write_row(const sage::cuda::CodingArguments& a, int64_t row, const CodingRow& r,
                                          const float* error, int lane) {
  const int k = static_cast<int>(a.w.cols);
  for (int c = lane; c < k; c += 32) {
    a.decoded.data[row * a.decoded.ld + c] = r.decoded()[c];
    for (int p = 0; p < a.planes; ++p)
      a.symbols.data[row * a.symbols.ld + p * k + c] = static_cast<uint8_t>(r.symbols()[c] >> (8 * p));
    if (a.correction != sage::Correction::kNone) a.error.data[row * a.error.ld + c] = error[c];
  }
}

// x_j -= u_j e for a lane's columns j = first, first + 32, ... below k. Pointers that move on cost 7 instructions a column,
// against 12 of indices. kFewRegisters: indices, and no copies of the loop.
template <bool kFewRegisters>
__device__ __forceinline__ void subtract_error(float* x, const float* u, float e, int first, int k) {
  if constexpr (kFewRegisters) {
    KX_UNROLL(1)
    for (int j = first; j < k; j += 32)
      x[j] = __fsub_rn(x[j], __fmul_rn(__ldg(u + j), e));
  } else {
    x += first;
    u += first;
    KX_UNROLL(4)
    for (int left = k - first; left > 0; left -= 32) {
      *x = __fsub_rn(*x, __fmul_rn(__ldg(u), e));
      x += 32;
      u += 32;
    }
  }
}

template <bool kSteps>
__global__ void __launch_bounds__(32 * kCodingWarps) code_columns_kernel(sage::cuda::CodingArguments a) {
  KX_DYNAMIC_SHARED(float, shared);
  const int lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
  const int k = static_cast<int>(a.w.cols);
  const CodingRow r(shared, static_cast<int>(threadIdx.x) / 32, k);
  for (int64_t row = int64_t{blockIdx.x} * warps + threadIdx.x / 32; row < a.w.rows; row += int64_t{gridDim.x} * warps) {
    for (int c = lane; c < k; c += 32)
      r.x[c] = a.w.data[row * a.w.ld + c];
    for (int c = 0; c < k; ++c) {
      __syncwarp();
      const float* u = a.u.data + c * a.u.ld;
      const float w = r.x[c];
      const CodedWeight q = code_weight<kSteps>(a, row, c, w);
      const float e = __fdiv_rn(__fsub_rn(w, q.value), __ldg(u + c));
      if (lane == c % 32) {
        r.decoded()[c] = q.value;
        r.symbols()[c] = q.symbols;
        r.error()[c] = e;
      }
      subtract_error<kSteps>(r.x, u, e, c + 1 + lane, k);
    }
    __syncwarp();
    write_row(a, row, r, r.error(), lane);
    __syncwarp();  // before the next row overwrites it
  }
}

template <bool kSteps>
__global__ void __launch_bounds__(32 * kCodingWarps) code_elements_kernel(sage::cuda::CodingArguments a) {
  KX_DYNAMIC_SHARED(float, shared);
  const int lane = static_cast<int>(threadIdx.x) % 32, warps = static_cast<int>(blockDim.x) / 32;
  const int k = static_cast<int>(a.w.cols);
  const CodingRow r(shared, static_cast<int>(threadIdx.x) / 32, k);
  for (int64_t row = int64_t{blockIdx.x} * warps + threadIdx.x / 32; row < a.w.rows; row += int64_t{gridDim.x} * warps) {
    for (int c = lane; c < k; c += 32) {
      const float w = a.w.data[row * a.w.ld + c];
      const CodedWeight q = code_weight<kSteps>(a, row, c, w);
      r.decoded()[c] = q.value;
      r.symbols()[c] = q.symbols;
      if (a.correction == sage::Correction::kNone) continue;
      const float d = __fsub_rn(w, q.value);
      r.error()[c] = a.correction == sage::Correction::kOwn ? __fdiv_rn(d, __ldg(a.u.data + c * a.u.ld + c)) : d;
    }
    const bool substitute = a.correction == sage::Correction::kBlock;
    if (substitute) {  // r.error(): what is left of D; r.x: E
      for (int c = 0; c < k; ++c) {
        __syncwarp();
        const float* u = a.u.data + c * a.u.ld;
        const float e = __fdiv_rn(r.error()[c], __ldg(u + c));
        if (lane == c % 32) r.x[c] = e;
        subtract_error<false>(r.error(), u, e, c + 1 + lane, k);
      }
    }
    __syncwarp();
    write_row(a, row, r, substitute ? r.x : r.error(), lane);
    __syncwarp();  // before the next row overwrites it
  }
}

}  // namespace KX_NAMESPACE
