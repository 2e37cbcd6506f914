// Quantiles to the last bit as the reference programs compute them.
#pragma once

#include <span>
#include <vector>

namespace sage::grouping {

// torch.linspace in float: h = fl((high - low) / (points - 1)); element k is fma(h, k, low) in the first half and
// fma(-h, points - 1 - k, high) in the other. points >= 1.
std::vector<float> linspace(float low, float high, int points);

// numpy.quantile (method linear) of float data for float probabilities: the position fl((N - 1) p) in float, interpolation
// between its neighbours in double, the result rounded to float. `sorted` ascends and is not empty.
std::vector<float> quantiles(std::span<const float> sorted, std::span<const float> probabilities);

}  // namespace sage::grouping
