// What binarizing a set of values loses, without making the binarized values.
#pragma once

#include <span>

namespace sage::cpu {

// order: how many times the residual is binarized again, 1 or 2. centered: subtract the mean first.
struct BinarizationRule {
  int order = 1;
  bool centered = true;
};

// The squared error sum (x - S)^2 of the masked residual binarization S of one row's values x (n of them):
//   R = x;  per order:  mu = mean(R) (0 unless centered), alpha = mean |R - mu|, D = mu + alpha sign(R - mu), R <- R - D
// with sign(0) = 0, as in BiLLM's released code (there always centered; its paper, arXiv:2402.04291, Eq. 4 and 8-10, has
// alpha sign alone). All sums in double. Per order one pass: with d = R - mu and z of the d equal to 0,
//   sum (d - alpha sign d)^2 = sum d^2 - (n + z) alpha^2,
// and what rounding leaves of an exact fit is given as 0, so that exact fits tie. No values: 0. NaN or infinite values: NaN.
double binarization_error(std::span<const double> x, BinarizationRule rule);

}  // namespace sage::cpu
