// Matrices in a backend's memory that are parts of larger ones: rows apart by more than their length, starting anywhere.
#pragma once

#include "core/backend/memory.h"
#include "tests/kernels/support.h"

namespace sage::test {

// Where a matrix lies in the larger one: `offset` elements into its rows, `extra` more elements behind it.
struct Placement {
  int64_t offset, extra;
};
// Rows of 16-byte pieces, and starts and pitches that allow none.
inline std::vector<Placement> placements() { return {{0, 0}, {4, 4}, {1, 0}, {0, 1}, {3, 6}, {2, 2}}; }

// A copy of a host matrix, with NaN around it and a row of NaN after its last.
class DeviceView {
 public:
  DeviceView(const Backend& backend, WeightView host, Placement at)
      : backend_(backend),
        at_(at),
        storage_(backend, host.rows + 1, at.offset + host.cols + at.extra),
        rows_(host.rows),
        cols_(host.cols) {
    Matrix around(storage_.rows(), storage_.cols());
    std::fill(around.data(), around.data() + around.size(), std::nanf(""));
    copy(backend, around.view(), storage_.view());
    copy<float>(backend, host, view());
  }
  View<float> view() const { return storage_.view().row_range(0, rows_).columns(at_.offset, at_.offset + cols_); }
  Matrix host() const { return to_host(backend_, view()); }
  bool margin_intact() const {
    const Matrix all = to_host(backend_, storage_.view());
    for (int64_t i = 0; i < all.rows(); ++i)
      for (int64_t j = 0; j < all.cols(); ++j)
        if ((i >= rows_ || j < at_.offset || j >= at_.offset + cols_) && !std::isnan(all(i, j))) return false;
    return true;
  }

 private:
  const Backend& backend_;
  Placement at_;
  BackendMatrix storage_;
  int64_t rows_, cols_;
};

inline bool same_bits(WeightView a, WeightView b) {
  for (int64_t i = 0; i < a.rows; ++i)
    if (std::memcmp(a.row(i), b.row(i), static_cast<size_t>(a.cols) * sizeof(float)) != 0) return false;
  return a.rows == b.rows && a.cols == b.cols;
}
inline bool same_bits(const Matrix& a, const Matrix& b) { return same_bits(WeightView(a.view()), WeightView(b.view())); }

inline Matrix normal_matrix(int64_t rows, int64_t cols, uint64_t stream, double scale = 1.0) {
  Matrix m(rows, cols);
  fill_normal(m.view(), stream, scale);
  return m;
}
inline Matrix row_of(std::initializer_list<float> values) {
  Matrix m(1, static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), m.data());
  return m;
}

}  // namespace sage::test
