// Error compensation: what the error of coded columns does to the others.
#include <cblas.h>

#include <algorithm>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {

void CpuBackend::subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const {
  shapes::outer(u, e, x);
  for (int64_t i = 0; i < x.rows; ++i)
    k_.subtract_scaled(x.row(i), u[static_cast<size_t>(i)], e.data(), x.cols);
}

// Tiles of x, each one call of single-threaded OpenBLAS, as in linear(): the result does not depend on the number of threads.
void CpuBackend::subtract_product(WeightView a, WeightView b, View<float> x) const {
  shapes::product(a, b, x);
  if (a.cols == 0) return;
  constexpr int64_t kRows = 512, kCols = 1024;
  const int64_t row_parts = (x.rows + kRows - 1) / kRows, col_parts = (x.cols + kCols - 1) / kCols;
  for_tasks(row_parts * col_parts, [&](int64_t t, int) {
    const int64_t r0 = t / col_parts * kRows, r1 = std::min(x.rows, r0 + kRows);
    const int64_t c0 = t % col_parts * kCols, c1 = std::min(x.cols, c0 + kCols);
    const View<float> tile = x.row_range(r0, r1).columns(c0, c1);
    const WeightView left = a.row_range(r0, r1), right = b.columns(c0, c1);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<blasint>(tile.rows), static_cast<blasint>(tile.cols),
                static_cast<blasint>(left.cols), -1.0f, left.data, static_cast<blasint>(left.ld), right.data,
                static_cast<blasint>(right.ld), 1.0f, tile.data, static_cast<blasint>(tile.ld));
  });
}

}  // namespace sage::cpu
