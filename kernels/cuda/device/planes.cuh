// Packed 1-bit matrices on the device: what every kernel on them reads, and the kernels that make the layout out of the symbols
// and the salient bits of a file.
//
//   count_weights_kernel   weights of each row that are salient (or not). One warp a row, a lane a word of 32 columns.
//   exclusive_sum_kernel   running sums of those counts. One block: each thread sums a run of rows, the runs are scanned.
//   unpack_planes_kernel   symbols -> bit planes. A file has symbols for unsalient weights only, so the symbol of a weight is
//                          found by rank: sum of the rows before + scan of the row's mask words. One warp a row.
//   list_salient_kernel    the columns of the salient weights, by the same rank. One warp a row.
//
// Bytes moved: the symbols and the mask (twice) in, the planes out; bound by memory, and run once a matrix. Integers only:
// exact and the same for any schedule.
#pragma once

#include "kernels/cuda/device/unroll.cuh"
#include "kernels/cuda/packed_kernels.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

using sage::cuda::ColumnRange;
using sage::cuda::PackedView;
using sage::cuda::QuantizedActivations;
using sage::cuda::SalientBits;
using sage::cuda::SymbolStream;

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float packed_warp_sum(float v) {
  for (int o = 16; o > 0; o >>= 1)
    v += __shfl_xor_sync(kAllLanes, v, o);
  return v;
}

// Number `at` of an array of FP16 or, wide, FP32 numbers.
__device__ __forceinline__ float packed_number(const void* numbers, bool wide, int64_t at) {
  return wide ? __ldg(static_cast<const float*>(numbers) + at)
              : __half2float(__ushort_as_half(__ldg(static_cast<const unsigned short*>(numbers) + at)));
}

__device__ __forceinline__ int64_t packed_block(const PackedView& a, int64_t column) {
  // 64-bit divisions are long functions; BLAS and the memory of one matrix end far below 2^31 columns.
  return a.blocks > 1 ? static_cast<unsigned>(column) / static_cast<unsigned>(a.block_columns) : 0;
}
// Where the scales of a row's block begin.
__device__ __forceinline__ int64_t packed_unit(const PackedView& a, int64_t row, int64_t block) {
  return row * a.scale_row_stride + block * a.groups;
}
// What a weight with the code (id << 1 | negative) is worth, before column_scale and factors. Ids no group has are worth 0.
__device__ __forceinline__ float packed_level(const PackedView& a, int64_t unit, unsigned code) {
  const int id = static_cast<int>(code >> 1);
  if (id >= a.groups) return 0.0f;
  const float scale = packed_number(a.scales, a.wide_numbers, unit + id);
  const float v = __uint_as_float(__float_as_uint(scale) ^ (code << 31));
  return a.shifts == nullptr ? v : packed_number(a.shifts, a.wide_numbers, unit + id) + v;
}

__device__ __forceinline__ int64_t salient_column(const PackedView& a, int64_t at) {
  return a.wide_columns ? static_cast<int64_t>(__ldg(static_cast<const unsigned*>(a.salient_columns) + at))
                        : static_cast<int64_t>(__ldg(static_cast<const unsigned short*>(a.salient_columns) + at));
}

// This lane's part of sum over the salient weights of `row` of v x - (what the planes hold there) x.
__device__ __forceinline__ float salient_part(const PackedView& a, int64_t row, int lane, const float* __restrict__ plane_x,
                                              const float* __restrict__ salient_x) {
  float sum = 0.0f;
  if (a.salient_begin == nullptr) return sum;
  const int64_t end = __ldg(a.salient_begin + row + 1);
  KX_UNROLL(1)  // a few rounds a row: copies of this for every row of a warp would outgrow the instruction cache
  for (int64_t k = __ldg(a.salient_begin + row) + lane; k < end; k += 32) {
    const int64_t j = salient_column(a, k);
    const float v = packed_number(a.salient_values, a.wide_values, k);
    const float held = packed_level(a, packed_unit(a, row, packed_block(a, j)), 0);
    sum = fmaf(v, __ldg(salient_x + j), sum);
    sum = fmaf(-held, __ldg(plane_x + j), sum);
  }
  return sum;
}

__device__ __forceinline__ float with_row_factor(const PackedView& a, int64_t row, float y) {
  return a.row_factor == nullptr ? y : y * __ldg(a.row_factor + row);
}

// 32 bits from bit `at` on.
__device__ __forceinline__ unsigned bits_at(const uint32_t* __restrict__ bits, int64_t at) {
  const uint32_t* p = bits + (at >> 5);
  return __funnelshift_r(__ldg(p), __ldg(p + 1), static_cast<unsigned>(at & 31));
}
// The lowest n bits, n <= 32.
__device__ __forceinline__ unsigned low_bits(int64_t n) { return n >= 32 ? 0xffffffffu : n <= 0 ? 0u : (1u << n) - 1u; }

// The chosen weights among columns 32 w .. 32 w + 31 of the range.
__device__ __forceinline__ unsigned chosen(const SalientBits& mask, int64_t row, const ColumnRange& columns, int64_t w,
                                           bool salient) {
  const int64_t left = columns.count - 32 * w;
  if (left <= 0) return 0u;
  const unsigned bits = mask.bits == nullptr ? 0u : bits_at(mask.bits, row * mask.pitch + columns.first + 32 * w);
  return (salient ? bits : ~bits) & low_bits(left);
}

// Sum of v over the lanes before this one; `total` over all.
__device__ __forceinline__ int lanes_before(int v, int lane, int& total) {
  int sum = v;
  for (int o = 1; o < 32; o <<= 1) {
    const int other = __shfl_up_sync(kAllLanes, sum, static_cast<unsigned>(o));
    if (lane >= o) sum += other;
  }
  total = __shfl_sync(kAllLanes, sum, 31);
  return sum - v;
}

__global__ void __launch_bounds__(256)
    count_weights_kernel(SalientBits mask, int64_t rows, ColumnRange columns, bool salient, int64_t* __restrict__ count) {
  const int lane = static_cast<int>(threadIdx.x & 31u);
  const int64_t warps = int64_t{gridDim.x} * (blockDim.x >> 5);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x >> 5) + (threadIdx.x >> 5); i < rows; i += warps) {
    int n = 0;
    for (int64_t w = lane; 32 * w < columns.count; w += 32)
      n += __popc(chosen(mask, i, columns, w, salient));
    n = __reduce_add_sync(kAllLanes, n);
    if (lane == 0) count[i] = n;
  }
}

// In place: v[i] becomes the sum of v[0 .. i-1]; v[n] the sum of all. One block of 1024 threads.
__global__ void __launch_bounds__(1024) exclusive_sum_kernel(int64_t* v, int64_t n) {
  __shared__ int64_t runs[1024];
  const int64_t per = (n + 1023) / 1024, first = min(n, per * threadIdx.x), last = min(n, first + per);
  int64_t sum = 0;
  for (int64_t i = first; i < last; ++i)
    sum += v[i];
  runs[threadIdx.x] = sum;
  for (unsigned o = 1; o < 1024; o <<= 1) {
    __syncthreads();
    const int64_t other = threadIdx.x >= o ? runs[threadIdx.x - o] : 0;
    __syncthreads();
    runs[threadIdx.x] += other;
  }
  int64_t at = runs[threadIdx.x] - sum;
  for (int64_t i = first; i < last; ++i) {
    const int64_t own = v[i];
    v[i] = at;
    at += own;
  }
  if (threadIdx.x == 1023) v[n] = at;
}

__global__ void __launch_bounds__(256)
    unpack_planes_kernel(SymbolStream symbols, SalientBits mask, const int64_t* __restrict__ begin, int64_t rows,
                         ColumnRange columns, int64_t end, int planes, uint32_t* __restrict__ out, int64_t words) {
  const int lane = static_cast<int>(threadIdx.x & 31u);
  const int64_t warps = int64_t{gridDim.x} * (blockDim.x >> 5), last = (end - columns.first) / 32;
  const unsigned symbol_mask = low_bits(symbols.width);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x >> 5) + (threadIdx.x >> 5); i < rows; i += warps) {
    int64_t rank = symbols.first + begin[i];
    for (int64_t from = 0; from < last; from += 32) {
      const int64_t w = from + lane;
      unsigned own = chosen(mask, i, columns, w, false);
      int total = 0;
      int64_t k = rank + lanes_before(__popc(own), lane, total);
      rank += total;
      if (w >= last) continue;  // no collective follows in this round but the shuffles of the next, which all lanes reach
      unsigned word[sage::cuda::kMostIdPlanes] = {};
      if (symbols.width == 1 && own == 0xffffffffu) {
        word[0] = bits_at(symbols.bits, k);
      } else {
        for (; own != 0u; own &= own - 1u, ++k) {
          const unsigned symbol = bits_at(symbols.bits, k * symbols.width) & symbol_mask;
          const int j = __ffs(static_cast<int>(own)) - 1;
          KX_UNROLL()
          for (int p = 0; p < sage::cuda::kMostIdPlanes; ++p)
            word[p] |= (symbol >> p & 1u) << j;
        }
      }
      KX_UNROLL()
      for (int p = 0; p < sage::cuda::kMostIdPlanes; ++p)
        if (p < planes) out[(p * rows + i) * words + columns.first / 32 + w] = word[p];
    }
  }
}

template <class Column>
__global__ void __launch_bounds__(256) list_salient_kernel(SalientBits mask, const int64_t* __restrict__ begin, int64_t rows,
                                                           ColumnRange columns, Column* __restrict__ out) {
  const int lane = static_cast<int>(threadIdx.x & 31u);
  const int64_t warps = int64_t{gridDim.x} * (blockDim.x >> 5);
  for (int64_t i = int64_t{blockIdx.x} * (blockDim.x >> 5) + (threadIdx.x >> 5); i < rows; i += warps) {
    int64_t rank = begin[i];
    for (int64_t from = 0; 32 * from < columns.count; from += 32) {
      const int64_t w = from + lane;
      unsigned own = chosen(mask, i, columns, w, true);
      int total = 0;
      int64_t k = rank + lanes_before(__popc(own), lane, total);
      rank += total;
      for (; own != 0u; own &= own - 1u, ++k)
        out[k] = static_cast<Column>(columns.first + 32 * w + __ffs(static_cast<int>(own)) - 1);
    }
  }
}

}  // namespace KX_NAMESPACE
