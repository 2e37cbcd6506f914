#include "kernels/cuda/blas.h"

#include <algorithm>

namespace sage::cuda {
namespace {

// BLAS wants a leading dimension of at least the extent, even of a single row.
int64_t leading(const DeviceRows& m) { return std::max<int64_t>({m.ld, m.cols, 1}); }

}  // namespace

GemmCall times_transposed(const DeviceRows& x, const DeviceRows& w, void* c, int64_t ldc, double alpha, double beta) {
  GemmCall g;
  g.transpose_a = true;
  g.m = w.rows;
  g.n = x.rows;
  g.k = x.cols;
  g.alpha = alpha;
  g.beta = beta;
  g.a = w.data;
  g.lda = leading(w);
  g.b = x.data;
  g.ldb = leading(x);
  g.c = c;
  g.ldc = std::max(ldc, std::max<int64_t>(w.rows, 1));
  return g;
}

GemmCall times(const DeviceRows& a, const DeviceRows& b, void* c, int64_t ldc, double alpha, double beta) {
  GemmCall g;
  g.m = b.cols;
  g.n = a.rows;
  g.k = a.cols;
  g.alpha = alpha;
  g.beta = beta;
  g.a = b.data;
  g.lda = leading(b);
  g.b = a.data;
  g.ldb = leading(a);
  g.c = c;
  g.ldc = std::max(ldc, std::max<int64_t>(b.cols, 1));
  return g;
}

SyrkCall gram(const DeviceRows& x, void* c, int64_t ldc, double alpha, double beta) {
  SyrkCall s;
  s.lower = true;       // of the transpose, which is the same matrix
  s.transpose = false;  // x^T is what cuBLAS reads
  s.n = x.cols;
  s.k = x.rows;
  s.alpha = alpha;
  s.beta = beta;
  s.a = x.data;
  s.lda = leading(x);
  s.c = c;
  s.ldc = std::max<int64_t>(ldc, std::max<int64_t>(x.cols, 1));
  return s;
}

}  // namespace sage::cuda
