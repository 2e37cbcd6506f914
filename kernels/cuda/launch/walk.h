// How an elementwise kernel goes over its matrices.
#pragma once

#include <initializer_list>

#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {

// Rows of floats, `ld` elements apart.
struct FloatRows {
  const float* data;
  int64_t ld;
};
// Whether every row can be read in pieces of 16 bytes.
inline bool rows_of_16_bytes(const FloatRows& m, int64_t rows) {
  return reinterpret_cast<uintptr_t>(m.data) % 16 == 0 && (rows <= 1 || m.ld % 4 == 0);
}

struct Walk {
  int64_t rows, cols;
  bool wide;  // four elements at a time
  dim3 grid;
};
// Matrices that are all contiguous are walked as one long row: short rows would leave threads of a block idle.
inline Walk walk(int64_t rows, int64_t cols, int threads, std::initializer_list<FloatRows> matrices) {
  Walk w{rows, cols, true, {}};
  if (std::all_of(matrices.begin(), matrices.end(), [&](const FloatRows& m) { return m.ld == cols; })) {
    w.rows = 1;
    w.cols = rows * cols;
  }
  for (const FloatRows& m : matrices)
    w.wide = w.wide && rows_of_16_bytes(m, w.rows);
  w.grid = elementwise_grid(w.rows, w.wide ? divide_up(w.cols, 4) : w.cols, threads);
  return w;
}

}  // namespace KX_NAMESPACE
