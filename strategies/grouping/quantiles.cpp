#include "strategies/grouping/quantiles.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace sage::grouping {

std::vector<float> linspace(float low, float high, int points) {
  std::vector<float> out;
  const float h = points > 1 ? (high - low) / static_cast<float>(points - 1) : 0.0f;
  for (int k = 0; k < points; ++k)
    out.push_back(2 * k + 1 < points || points == 1 ? std::fma(h, static_cast<float>(k), low)
                                                    : std::fma(-h, static_cast<float>(points - 1 - k), high));
  return out;
}

std::vector<float> quantiles(std::span<const float> sorted, std::span<const float> probabilities) {
  std::vector<float> out;
  const size_t last = sorted.size() - 1;
  for (const float p : probabilities) {
    const float at = static_cast<float>(last) * p;
    const size_t below = std::min(static_cast<size_t>(at), last);
    const double a = sorted[below], b = sorted[std::min(below + 1, last)];
    const double t = std::min(1.0, static_cast<double>(at) - static_cast<double>(below));
    out.push_back(static_cast<float>(t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t)));
  }
  return out;
}

}  // namespace sage::grouping
