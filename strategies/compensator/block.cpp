#include "strategies/compensator/block.h"

#include <algorithm>

namespace sage {

void BlockCompensation::block_error(WeightView u, View<float> weights, WeightView decoded, View<float> error, const Backend&) const {
#pragma omp parallel for schedule(static) if (weights.size() > 1 << 14)
  for (int64_t i = 0; i < weights.rows; ++i)
    for (int64_t c = 0; c < weights.cols; ++c)
      error(i, c) = (weights(i, c) - decoded(i, c)) / u(c, c);
}

// Forward substitution of E U_bb = D, on transposed tiles of rows so that a column is contiguous.
void BlockExactCompensation::block_error(WeightView u, View<float> weights, WeightView decoded, View<float> error,
                                         const Backend& backend) const {
  constexpr int64_t kTileRows = 256;
  const int64_t n = weights.rows, k = weights.cols, tiles = (n + kTileRows - 1) / kTileRows;
#pragma omp parallel for schedule(dynamic) if (tiles > 1)
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t row0 = t * kTileRows, rows = std::min(n, row0 + kTileRows) - row0;
    Matrix tile(k, rows);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < k; ++c)
        tile(c, r) = weights(row0 + r, c) - decoded(row0 + r, c);
    for (int64_t c = 0; c < k; ++c) {
      float* e = tile.row(c);
      for (int64_t r = 0; r < rows; ++r)
        e[r] /= u(c, c);
      if (c + 1 < k)
        backend.subtract_outer({u.row(c) + c + 1, static_cast<size_t>(k - c - 1)}, {e, static_cast<size_t>(rows)},
                               tile.view().row_range(c + 1, k));
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < k; ++c)
        error(row0 + r, c) = tile(c, r);
  }
}

}  // namespace sage
