// Matrices in a backend's own memory, and host memory a backend may keep a copy of.
//
//   BackendMatrix hidden(backend, tokens, width);          // device memory on a GPU, ordinary memory elsewhere
//   copy(backend, embedded.view(), hidden.view());         // either side may be host memory
//   const HeldMemory weights = hold(backend, w.view());    // w does not change while `weights` lives: it is sent over once
//   backend.linear(hidden.view(), w.view(), {}, out.view());
//
// Operations take views of either kind; host memory that is not held is copied over for the one call, and results back. So the
// kind of memory decides speed, never results. The host may read and write BackendMatrix::view() only where
// backend.memory_is_host().
#pragma once

#include <memory>

#include "core/backend/backend.h"

namespace sage {

// Uninitialised, contiguous. Movable; the backend must outlive it.
template <class T>
class BackendArray {
 public:
  BackendArray() = default;
  BackendArray(const Backend& backend, int64_t rows, int64_t cols)
      : memory_(backend.allocate(sizeof(T) * static_cast<size_t>(rows * cols))), rows_(rows), cols_(cols) {}
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t size() const { return rows_ * cols_; }
  View<T> view() const { return {static_cast<T*>(memory_.get()), rows_, cols_}; }

 private:
  std::shared_ptr<void> memory_;
  int64_t rows_ = 0, cols_ = 0;
};
using BackendMatrix = BackendArray<float>;

// Element by element, between any two kinds of memory. Blocking: afterwards `from` may change and `to` be read.
template <class T>
void copy(const Backend& backend, const View<const T>& from, const View<T>& to) {
  constexpr auto kBytes = static_cast<int64_t>(sizeof(T));
  backend.copy({from.data, from.ld * kBytes}, {to.data, to.ld * kBytes}, from.cols * kBytes, from.rows);
}
inline void copy(const Backend& backend, const View<float>& from, const View<float>& to) {
  copy<float>(backend, WeightView(from), to);
}
inline Matrix to_host(const Backend& backend, WeightView from) {
  Matrix out(from.rows, from.cols);
  copy<float>(backend, from, out.view());
  return out;
}

inline HeldMemory hold(const Backend& backend, WeightView w) { return backend.hold(w); }
inline HeldMemory hold(const Backend& backend, std::span<const float> v) {
  return backend.hold(WeightView(v.data(), 1, static_cast<int64_t>(v.size())));
}

}  // namespace sage
