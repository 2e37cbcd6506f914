// Non-owning and owning row-major matrices. No arithmetic lives here: that is the business of the backends (kernels/).
#pragma once

#include <cassert>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#include "core/util/large_blocks.h"

namespace sage {

// A rows x cols window into row-major memory that somebody else owns. Element (i, j) is data[i * ld + j].
template <class T>
struct View {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t ld = 0;  // elements from one row to the next, >= cols

  View() = default;
  View(T* d, int64_t r, int64_t c) : View(d, r, c, c) {}
  View(T* d, int64_t r, int64_t c, int64_t stride) : data(d), rows(r), cols(c), ld(stride) {}
  template <class U, class = std::enable_if_t<std::is_same_v<const U, T>>>
  View(const View<U>& other) : data(other.data), rows(other.rows), cols(other.cols), ld(other.ld) {}

  T* row(int64_t i) const { return data + i * ld; }
  T& operator()(int64_t i, int64_t j) const { return data[i * ld + j]; }
  int64_t size() const { return rows * cols; }
  bool contiguous() const { return ld == cols || rows <= 1; }
  // Columns [first, last) of every row.
  View columns(int64_t first, int64_t last) const { return {data + first, rows, last - first, ld}; }
  // Rows [first, last).
  View row_range(int64_t first, int64_t last) const { return {data + first * ld, last - first, cols, ld}; }
};

using WeightView = View<const float>;

// Owns a row-major float matrix, 64-byte aligned, uninitialised unless zeroed. Movable, not copyable (copy() is explicit).
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t cols)
      : rows_(rows), cols_(cols), data_(allocate(static_cast<size_t>(rows * cols))) {}
  static Matrix zeros(int64_t rows, int64_t cols) {
    Matrix m(rows, cols);
    if (m.size() > 0) std::memset(m.data(), 0, sizeof(float) * static_cast<size_t>(m.size()));
    return m;
  }
  static Matrix copy(WeightView v) {
    Matrix m(v.rows, v.cols);
    if (m.size() == 0) return m;
    for (int64_t i = 0; i < v.rows; ++i) std::memcpy(m.row(i), v.row(i), sizeof(float) * static_cast<size_t>(v.cols));
    return m;
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t size() const { return rows_ * cols_; }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  float* row(int64_t i) { return data_.get() + i * cols_; }
  const float* row(int64_t i) const { return data_.get() + i * cols_; }
  float& operator()(int64_t i, int64_t j) { return data_[static_cast<size_t>(i * cols_ + j)]; }
  float operator()(int64_t i, int64_t j) const { return data_[static_cast<size_t>(i * cols_ + j)]; }
  View<float> view() { return {data_.get(), rows_, cols_}; }
  WeightView view() const { return {data_.get(), rows_, cols_}; }

 private:
  struct Free {
    void operator()(float* p) const { free_block(p); }
  };
  static std::unique_ptr<float[], Free> allocate(size_t n) {
    if (n == 0) return nullptr;
    return std::unique_ptr<float[], Free>(static_cast<float*>(allocate_block(n * sizeof(float))));
  }
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::unique_ptr<float[], Free> data_;
};

// Names one weight matrix of a model: the decoder block it sits in and its full tensor name,
// e.g. {3, "model.layers.3.self_attn.q_proj.weight"}. Random streams are keyed by it.
struct MatrixId {
  int layer = 0;
  std::string name;
};

}  // namespace sage
