// Masked residual binarization as its definition reads, for comparison: one value at a time, no shortcut.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "core/tensor/view.h"

namespace sage::test {

// sum (x - S)^2 of one set.
inline double plain_binarization_error(const std::vector<double>& x, int order, bool centered) {
  std::vector<double> s(x.size(), 0.0);
  for (int o = 0; o < order; ++o) {
    double mu = 0, alpha = 0;
    if (centered)
      for (size_t k = 0; k < x.size(); ++k)
        mu += x[k] - s[k];
    mu /= static_cast<double>(x.size());  // once, so that the mean of equal values is one of them
    std::vector<double> r(x.size());
    for (size_t k = 0; k < x.size(); ++k) {
      r[k] = x[k] - s[k] - mu;
      alpha += std::abs(r[k]) / static_cast<double>(x.size());
    }
    for (size_t k = 0; k < x.size(); ++k)
      s[k] += mu + (r[k] > 0 ? alpha : r[k] < 0 ? -alpha : 0.0);
  }
  double error = 0;
  for (size_t k = 0; k < x.size(); ++k)
    error += (x[k] - s[k]) * (x[k] - s[k]);
  return error;
}

// The same over all rows, of the weights that `own` takes, every row a set.
inline double plain_binarization_error(WeightView x, int order, bool centered,
                                       const std::function<bool(int64_t, int64_t)>& own) {
  double error = 0;
  for (int64_t i = 0; i < x.rows; ++i) {
    std::vector<double> row;
    for (int64_t j = 0; j < x.cols; ++j)
      if (own(i, j)) row.push_back(x(i, j));
    error += plain_binarization_error(row, order, centered);
  }
  return error;
}

}  // namespace sage::test
