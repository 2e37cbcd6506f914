// Grams of layer inputs, for calibration.
#include <cblas.h>

#include <algorithm>
#include <vector>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {
namespace {

blasint as_blas(int64_t n) { return static_cast<blasint>(n); }

void diagonal_tile(View<const float> x, double keep, double weight, View<float> tile) {
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, as_blas(x.cols), as_blas(x.rows), static_cast<float>(weight), x.data,
              as_blas(x.ld), static_cast<float>(keep), tile.data, as_blas(tile.ld));
}
void diagonal_tile(View<const double> x, double keep, double weight, View<double> tile) {
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, as_blas(x.cols), as_blas(x.rows), weight, x.data, as_blas(x.ld), keep,
              tile.data, as_blas(tile.ld));
}
void other_tile(View<const float> a, View<const float> b, double keep, double weight, View<float> tile) {
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, as_blas(a.cols), as_blas(b.cols), as_blas(a.rows),
              static_cast<float>(weight), a.data, as_blas(a.ld), b.data, as_blas(b.ld), static_cast<float>(keep), tile.data,
              as_blas(tile.ld));
}
void other_tile(View<const double> a, View<const double> b, double keep, double weight, View<double> tile) {
  cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, as_blas(a.cols), as_blas(b.cols), as_blas(a.rows), weight, a.data,
              as_blas(a.ld), b.data, as_blas(b.ld), keep, tile.data, as_blas(tile.ld));
}

// The columns are cut into panels by their number alone, and each tile of the upper triangle is one call of single-threaded
// OpenBLAS: a result does not depend on the number of threads. The full tiles come first, the half ones on the diagonal fill up
// the end.
template <class T>
void update_tiles(View<const T> x, double keep, double weight, View<T> gram) {
  constexpr int64_t kPanel = 256, kWorthCutting = 128;
  const int64_t parts = std::max<int64_t>(x.cols >= kWorthCutting ? 2 : 1, (x.cols + kPanel - 1) / kPanel);
  const int64_t width = ((x.cols + parts - 1) / parts + 15) / 16 * 16;
  struct Tile {
    int64_t row0, col0;
  };
  std::vector<Tile> tiles;
  for (int64_t r = 0; r < x.cols; r += width)
    for (int64_t c = r + width; c < x.cols; c += width)
      tiles.push_back({r, c});
  for (int64_t r = 0; r < x.cols; r += width)
    tiles.push_back({r, r});
  for_tasks(static_cast<int64_t>(tiles.size()), [&](int64_t t, int) {
    const auto [r0, c0] = tiles[static_cast<size_t>(t)];
    const int64_t r1 = std::min(x.cols, r0 + width), c1 = std::min(x.cols, c0 + width);
    const View<T> tile = gram.row_range(r0, r1).columns(c0, c1);
    if (r0 == c0)
      diagonal_tile(x.columns(r0, r1), keep, weight, tile);
    else
      other_tile(x.columns(r0, r1), x.columns(c0, c1), keep, weight, tile);
  });
}

template <class T>
void scale_upper(View<T> gram, double keep) {
  for (int64_t i = 0; i < gram.rows; ++i)
    for (int64_t j = i; j < gram.cols; ++j)
      gram(i, j) = keep == 0 ? T{0} : static_cast<T>(keep * static_cast<double>(gram(i, j)));
}

}  // namespace

void CpuBackend::gram_update(WeightView x, double keep, double weight, View<float> gram) const {
  shapes::gram_update(x, gram);
  if (x.rows == 0 || weight == 0)
    scale_upper(gram, keep);
  else
    update_tiles<float>(x, keep, weight, gram);
}

void CpuBackend::gram_update(WeightView x, double keep, double weight, View<double> gram) const {
  shapes::gram_update(x, gram);
  if (x.rows == 0 || weight == 0) {
    scale_upper(gram, keep);
    return;
  }
  constexpr int64_t kRows = 512;  // bounds the memory of the widened copy
  std::vector<double> wide(static_cast<size_t>(std::min(kRows, x.rows) * x.cols));
  for (int64_t first = 0; first < x.rows; first += kRows) {
    const WeightView part = x.row_range(first, std::min(x.rows, first + kRows));
    for_tasks(part.rows, [&](int64_t t, int) { std::copy_n(part.row(t), part.cols, wide.data() + t * part.cols); });
    update_tiles<double>(View<const double>(wide.data(), part.rows, part.cols), first == 0 ? keep : 1.0, weight, gram);
  }
}

}  // namespace sage::cpu
