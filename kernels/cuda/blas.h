// Row-major matrices in terms of the column-major calls of cuBLAS: the one place where the two conventions meet.
//
// A row-major m x n matrix with rows ld apart is, read column-major, its own n x m transpose with leading dimension ld. Hence
//   Y = X W^T   (row-major, T x m = T x n * n x m)   becomes   Y^T = W X^T,  op(A) = W: A is W^T as cuBLAS reads it, transposed
//   Y = A B     (row-major)                          becomes   Y^T = B^T A^T, neither transposed
// and the upper triangle of a row-major matrix is the lower one of what cuBLAS reads.
#pragma once

#include "kernels/cuda/api.h"

namespace sage::cuda {

// Rows of numbers in device memory: element (i, j) is data[i * ld + j].
struct DeviceRows {
  const void* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t ld = 0;
};

// c[T x m] = alpha x[T x n] w[m x n]^T + beta c; c.rows, c.cols give T and m.
GemmCall times_transposed(const DeviceRows& x, const DeviceRows& w, void* c, int64_t ldc, double alpha = 1, double beta = 0);
// c[n x m] = alpha a[n x k] b[k x m] + beta c.
GemmCall times(const DeviceRows& a, const DeviceRows& b, void* c, int64_t ldc, double alpha = 1, double beta = 0);
// The upper triangle (row <= column) of c[n x n] = alpha x[T x n]^T x + beta c.
SyrkCall gram(const DeviceRows& x, void* c, int64_t ldc, double alpha, double beta);

}  // namespace sage::cuda
