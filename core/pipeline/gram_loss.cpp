#include "core/pipeline/gram_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/backend/memory.h"

namespace sage {
namespace {

constexpr int64_t kPanelColumns = 256;

// tr(A H A^T), panel by panel of H's columns: with T the panel's own square, half its diagonal and what is above it,
//   tr = 2 sum over panels J of <A_J, A_before H_before,J + A_J T>
double quadratic_form(WeightView a, WeightView gram, const Backend& backend) {
  const HeldMemory held = hold(backend, a);
  const int64_t n = a.rows, m = a.cols;
  Matrix product(n, std::min(kPanelColumns, m));
  std::vector<double> rows(static_cast<size_t>(n), 0.0);
  for (int64_t first = 0; first < m; first += kPanelColumns) {
    const int64_t last = std::min(first + kPanelColumns, m), width = last - first;
    Matrix square = Matrix::zeros(width, width);
    for (int64_t i = 0; i < width; ++i) {
      square(i, i) = gram(first + i, first + i) / 2;
      for (int64_t j = i + 1; j < width; ++j)
        square(i, j) = gram(first + i, first + j);
    }
    const View<float> p = product.view().columns(0, width);
    for (int64_t i = 0; i < n; ++i)
      std::fill_n(p.row(i), width, 0.0f);
    if (first > 0) backend.subtract_product(a.columns(0, first), gram.row_range(0, first).columns(first, last), p);
    backend.subtract_product(a.columns(first, last), square.view(), p);
#pragma omp parallel for schedule(static) if (n * width > 1 << 14)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < width; ++j)
        rows[static_cast<size_t>(i)] -= 2.0 * static_cast<double>(a(i, first + j)) * p(i, j);
  }
  double sum = 0;
  for (const double r : rows)
    sum += r;
  return sum;
}

}  // namespace

std::optional<double> gram_loss(WeightView w, WeightView decoded, WeightView gram, const Backend& backend) {
  const double whole = quadratic_form(w, gram, backend);
  if (!(whole > 0) || !std::isfinite(whole)) return std::nullopt;
  Matrix error(w.rows, w.cols);
#pragma omp parallel for schedule(static) if (w.size() > 1 << 14)
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      error(i, j) = w(i, j) - decoded(i, j);
  const double lost = quadratic_form(error.view(), gram, backend);
  // Of a Gram of fewer inputs than columns, what was lost may be a rounding error below zero.
  return std::isfinite(lost) ? std::optional(std::max(lost, 0.0) / whole) : std::nullopt;
}

}  // namespace sage
