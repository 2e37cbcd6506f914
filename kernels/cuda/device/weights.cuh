// How the statistics kernels read a matrix: four columns of a row (a quad) at a time, with one 16-byte access where pointer and
// pitch allow it and four 4-byte ones elsewhere. The same thread gets the same weights in the same order either way, so results
// do not depend on alignment. The choice is one flag for the whole grid: a branch that never diverges, a few instructions per
// quad, in place of a second instance of every kernel.
#pragma once

#include "kernels/cuda/statistics_kernels.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr unsigned kMagnitudeBits = 0x7fffffffu;
constexpr unsigned kInfinityBits = 0x7f800000u;

struct Weights {
  const float* data;
  int64_t ld, rows, cols;
  bool wide;  // quads that start at a multiple of 4 columns are aligned to 16 bytes
};

struct Quad {
  float v[4];
  int n;  // how many of them exist
};

// Columns [col, min(col + 4, end)) of a row; end <= w.cols.
__device__ __forceinline__ Quad load_quad(const Weights& w, int64_t row, int64_t col, int64_t end) {
  const float* p = w.data + row * w.ld + col;
  Quad q;
  q.n = static_cast<int>(end - col < 4 ? end - col : 4);
  if (w.wide && q.n == 4) {
    const float4 f = *reinterpret_cast<const float4*>(p);
    q.v[0] = f.x;
    q.v[1] = f.y;
    q.v[2] = f.z;
    q.v[3] = f.w;
  } else {
    for (int k = 0; k < 4; ++k)
      q.v[k] = k < q.n ? p[k] : 0.0f;
  }
  return q;
}

// Ownership of n <= 4 weights from column `col` on: bit k is that of column col + k.
__device__ __forceinline__ unsigned owned_bits(const sage::cuda::OwnedBits& own, int64_t row, int64_t col, int n) {
  const unsigned valid = (1u << n) - 1;
  if (own.words == nullptr) return valid;
  const uint64_t* words = own.words + row * own.row_words + (col >> 6);
  const int shift = static_cast<int>(col & 63);
  auto bits = static_cast<unsigned>(words[0] >> shift);
  if (shift + n > 64) bits |= static_cast<unsigned>(words[1] << (64 - shift));
  return (own.salient ? bits : ~bits) & valid;
}

// The quads of a rows x cols matrix, numbered row by row; a thread takes every `stride`-th. Two divisions at the start, none
// after.
class QuadWalk {
 public:
  __device__ __forceinline__ QuadWalk(int64_t rows, int64_t cols, int64_t first, int64_t stride)
      : rows_(rows),
        per_row_((cols + 3) / 4),
        row_(first / per_row_),
        quad_(first % per_row_),
        step_rows_(stride / per_row_),
        step_quads_(stride % per_row_) {}
  __device__ __forceinline__ bool valid() const { return row_ < rows_; }
  __device__ __forceinline__ void next() {
    row_ += step_rows_;
    quad_ += step_quads_;
    if (quad_ >= per_row_) {
      quad_ -= per_row_;
      ++row_;
    }
  }
  __device__ __forceinline__ int64_t row() const { return row_; }
  __device__ __forceinline__ int64_t col() const { return quad_ * 4; }

 private:
  int64_t rows_, per_row_, row_, quad_, step_rows_, step_quads_;
};

// The walk of a thread of a one-dimensional grid over the whole matrix.
__device__ __forceinline__ QuadWalk grid_walk(int64_t rows, int64_t cols) {
  return {rows, cols, int64_t{blockIdx.x} * blockDim.x + threadIdx.x, int64_t{gridDim.x} * blockDim.x};
}

}  // namespace KX_NAMESPACE
