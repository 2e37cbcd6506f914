// y = A x for a packed matrix, in FP32: weights are never multiplied out, x changes its sign.
//
//   y[i] = row_factor[i] * (sum_b scale[u(i,b)] sum_{j in b} sign_ij x[j]  +  the salient list's part)
// Three instances, by where the value of a weight comes from:
//   kFlip    one group, no shifts: x ^ sign bit, summed over a word of 32 weights, times the scale: shift, LOP3, FADD a weight
//   kShared  one block: the 2^(1 + ids) values of a row in shared memory, looked up by code and multiplied: 2 instructions a
//            plane to make the code, a load and an FMA. 16 values lie in 16 banks: no conflicts
//   kGlobal  groups or shifts in every block: the same through the cache; the slowest
//
// Work: a warp has kSignflipRows rows, a block 4 warps. Activations go through shared memory 4096 at a time, used by all 16
// rows; a lane has 128 neighbouring weights of each row, one 16-byte load, streamed past the cache. x[32 (4 l + c) + b] lies at
// b * 129 + 32 c + l, so that in step (c, b) the 32 lanes l read 32 neighbouring words and the fill is free of conflicts, too.
// Bytes: the planes once, x once a block of 16 rows from L2. Bound: instructions on most devices (3 to 4 a weight against 1
// bit). Every sum has a fixed order. Matrices of fewer than 4096 columns leave lanes idle: cols / 128 of 32 work.
#pragma once

#include "kernels/cuda/device/planes.cuh"

namespace KX_NAMESPACE {

constexpr int kSignflipWarps = 4;
constexpr int kSignflipRows = 4;  // of a warp
constexpr int kStagedColumns = 4096;
constexpr int kStagedPitch = 129;

enum class Levels { kFlip, kShared, kGlobal };

// The next of the four words of a lane; a rotation costs three moves for 32 weights and keeps the words in registers.
__device__ __forceinline__ unsigned next_word(uint4& v) {
  const unsigned word = v.x;
  v.x = v.y;
  v.y = v.z;
  v.z = v.w;
  return word;
}

template <Levels kLevels, int kIds>
__global__ void __launch_bounds__(kSignflipWarps * 32, 2)
    gemv_signflip_kernel(PackedView a, const float* __restrict__ plane_x, const float* __restrict__ salient_x,
                         float* __restrict__ y) {
  constexpr int kCodes = 2 << kIds;
  [[maybe_unused]] constexpr int kUnrolled = kLevels == Levels::kFlip     ? 32
                                             : kLevels == Levels::kShared ? 8
                                                                          : 2;  // lookups in flight take registers
  __shared__ float staged[32 * kStagedPitch];
  __shared__ float levels[kLevels == Levels::kShared ? kSignflipWarps * kSignflipRows * kCodes : 1];
  const int lane = static_cast<int>(threadIdx.x & 31u), warp = static_cast<int>(threadIdx.x >> 5);
  const int64_t row0 = (int64_t{blockIdx.x} * kSignflipWarps + warp) * kSignflipRows;

  if constexpr (kLevels == Levels::kShared) {
    for (int k = lane; k < kSignflipRows * kCodes; k += 32) {
      const int64_t row = row0 + k / kCodes;
      levels[warp * kSignflipRows * kCodes + k] =
          row < a.rows ? packed_level(a, packed_unit(a, row, 0), static_cast<unsigned>(k % kCodes)) : 0.0f;
    }
  }

  float acc[kSignflipRows] = {};
  const int64_t chunks = (a.words * 32 + kStagedColumns - 1) / kStagedColumns;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    __syncthreads();
    for (int k = static_cast<int>(threadIdx.x); k < kStagedColumns; k += kSignflipWarps * 32) {
      const int64_t j = chunk * kStagedColumns + k;
      const int word = k >> 5;
      staged[(k & 31) * kStagedPitch + (word & 3) * 32 + (word >> 2)] = j < a.cols ? __ldg(plane_x + j) : 0.0f;
    }
    __syncthreads();
    const int64_t word0 = chunk * (kStagedColumns / 32) + 4 * lane;
    if (word0 >= a.words) continue;
    uint4 sign[kSignflipRows], id[kSignflipRows][kIds > 0 ? kIds : 1];
    KX_UNROLL()
    for (int r = 0; r < kSignflipRows; ++r) {
      const int64_t row = min(row0 + r, a.rows - 1);  // rows past the end repeat the last one and are not stored
      sign[r] = __ldcs(reinterpret_cast<const uint4*>(a.planes + row * a.words + word0));
      KX_UNROLL()
      for (int p = 0; p < kIds; ++p)
        id[r][p] = __ldcs(reinterpret_cast<const uint4*>(a.planes + ((1 + p) * a.rows + row) * a.words + word0));
    }
    float scale[kSignflipRows] = {};
    KX_UNROLL(1)
    for (int c = 0; c < 4; ++c) {
      const int64_t block = packed_block(a, 32 * (word0 + c));
      if (kLevels == Levels::kFlip && (c == 0 || (a.blocks > 1 && a.block_columns % 128 != 0))) {
        KX_UNROLL()
        for (int r = 0; r < kSignflipRows; ++r)
          scale[r] =
              packed_number(a.scales, a.wide_numbers, packed_unit(a, min(row0 + r, a.rows - 1), min(block, a.blocks - 1)));
      }
      unsigned s[kSignflipRows], d[kSignflipRows][kIds > 0 ? kIds : 1];
      float part[kSignflipRows] = {};
      KX_UNROLL()
      for (int r = 0; r < kSignflipRows; ++r) {
        s[r] = next_word(sign[r]);
        KX_UNROLL()
        for (int p = 0; p < kIds; ++p)
          d[r][p] = next_word(id[r][p]);
      }
      KX_UNROLL(kUnrolled)
      for (int b = 0; b < 32; ++b) {
        const float xv = staged[b * kStagedPitch + 32 * c + lane];
        KX_UNROLL()
        for (int r = 0; r < kSignflipRows; ++r) {
          if constexpr (kLevels == Levels::kFlip) {
            part[r] += __uint_as_float(__float_as_uint(xv) ^ (s[r] << (31 - b) & 0x80000000u));
          } else {
            unsigned code = s[r] >> b & 1u;
            KX_UNROLL()
            for (int p = 0; p < kIds; ++p)
              code |= (d[r][p] >> b & 1u) << (1 + p);
            const float level =
                kLevels == Levels::kShared
                    ? levels[(warp * kSignflipRows + r) * kCodes + static_cast<int>(code)]
                    : packed_level(a, packed_unit(a, min(row0 + r, a.rows - 1), min(block, a.blocks - 1)), code);
            part[r] = fmaf(level, xv, part[r]);
          }
        }
      }
      KX_UNROLL()
      for (int r = 0; r < kSignflipRows; ++r)
        acc[r] = kLevels == Levels::kFlip ? fmaf(scale[r], part[r], acc[r]) : acc[r] + part[r];
    }
  }
  KX_UNROLL()
  for (int r = 0; r < kSignflipRows; ++r) {
    const int64_t row = row0 + r;
    if (row >= a.rows) break;  // the same for all lanes
    const float sum = packed_warp_sum(acc[r] + salient_part(a, row, lane, plane_x, salient_x));
    if (lane == 0) y[row] = with_row_factor(a, row, sum);
  }
}

}  // namespace KX_NAMESPACE
