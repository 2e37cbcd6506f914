// Shared by the calibration tests: random inputs, thread control.
#pragma once

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/tensor/view.h"
#include "core/util/errors.h"
#include "core/util/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace sage::test {

class Threads {
 public:
  explicit Threads(int n) : before_(omp_get_max_threads()) { omp_set_num_threads(n); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Correlated inputs, as layers have them: each column mixes its neighbour in.
inline Matrix inputs(int64_t rows, int64_t cols, uint64_t stream) {
  Rng rng(7, stream);
  Matrix x(rows, cols);
  for (int64_t i = 0; i < rows; ++i) {
    double last = 0;
    for (int64_t j = 0; j < cols; ++j) {
      last = 0.7 * last + rng.normal() * (j % 17 == 3 ? 5.0 : 1.0);
      x(i, j) = static_cast<float>(last);
    }
  }
  return x;
}

// H = sum of 2/N x^T x of N sequences below one another, in double, as defined.
inline std::vector<double> naive_gram(const std::vector<Matrix>& sequences) {
  const int64_t n = sequences.at(0).cols();
  std::vector<double> h(static_cast<size_t>(n * n), 0.0);
  for (const Matrix& x : sequences)
    for (int64_t t = 0; t < x.rows(); ++t)
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j)
          h[static_cast<size_t>(i * n + j)] +=
              2.0 / static_cast<double>(sequences.size()) * static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
  return h;
}

}  // namespace sage::test
