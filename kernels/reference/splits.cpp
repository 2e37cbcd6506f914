#include <cmath>
#include <vector>

#include "kernels/reference/quantization.h"
#include "kernels/shapes.h"

namespace sage::reference {
namespace {

// The squared error of binarizing one row's values `order` times, each time what the last left of them. What rounding leaves
// of an exact fit is 0: no more than 1e-13 of the squares that the last binarization, or the first scale, accounts for.
double binarization_error(std::vector<double> r, int order, bool centered) {
  if (r.empty()) return 0;
  const auto n = static_cast<double>(r.size());
  double error = 0, squares = 0, first_squares = 0;
  for (int o = 0; o < order; ++o) {
    double mu = 0, alpha = 0;
    for (double v : r)
      mu += v;
    mu = centered ? mu / n : 0.0;
    for (double& v : r)
      v -= mu;
    for (double v : r)
      alpha += std::fabs(v);
    alpha /= n;
    error = squares = 0;
    for (double& v : r) {
      squares += v * v;
      v -= v > 0 ? alpha : v < 0 ? -alpha : 0.0;
      error += v * v;
    }
    if (o == 0) first_squares = n * alpha * alpha;
  }
  if (error <= 1e-13 * squares || (order == 2 && error <= 1e-13 * first_squares)) return 0;
  return error;
}

}  // namespace

void split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors, std::span<int64_t> upper_count) {
  shapes::split_errors(x, trials, errors, upper_count);
  for (size_t t = 0; t < errors.size(); ++t) {
    errors[t] = 0;
    upper_count[t] = 0;
    for (int64_t i = 0; i < x.rows; ++i) {
      std::vector<double> lower, upper, apart;
      for (int64_t j = 0; j < x.cols; ++j) {
        const float key = trials.column_keys.empty() ? std::fabs(x(i, j)) : trials.column_keys[static_cast<size_t>(j)];
        if (trials.apart != nullptr && trials.apart->test(i, j)) {
          apart.push_back(x(i, j));
        } else if (key < trials.cuts[t]) {
          lower.push_back(x(i, j));
        } else {
          upper.push_back(x(i, j));
        }
      }
      upper_count[t] += static_cast<int64_t>(upper.size());
      errors[t] += binarization_error(apart, 2, trials.centered) + binarization_error(lower, trials.order, trials.centered) +
                   binarization_error(upper, trials.order, trials.centered);
    }
  }
}

}  // namespace sage::reference
