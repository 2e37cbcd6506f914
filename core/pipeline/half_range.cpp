#include "core/pipeline/half_range.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/util/half.h"

namespace sage {
namespace {

constexpr float kSmallestStep = 0x1p-24f;
constexpr float kLostBelow = 0x1p-25f;  // rounds to zero

}  // namespace

std::string half_range_warning(WeightView weights, const PlaneWriter& writer, const std::string& matrix) {
  if (writer.numerics() != Numerics::kPacked) return "";
  int64_t tiny_rows = 0, tiny_weights = 0;
  float largest = 0;
#pragma omp parallel for schedule(static) reduction(+ : tiny_rows, tiny_weights) reduction(max : largest) if (weights.size() > 1 << 14)
  for (int64_t i = 0; i < weights.rows; ++i) {
    const float* row = weights.row(i);
    float m = 0;
    for (int64_t j = 0; j < weights.cols; ++j) {
      const float a = std::fabs(row[j]);
      m = std::max(m, a);
      tiny_weights += a > 0 && a <= kLostBelow ? 1 : 0;
    }
    tiny_rows += m > 0 && m < kSmallestStep ? 1 : 0;
    largest = std::max(largest, m);
  }
  std::vector<std::string> found;
  for (const auto& [name, plane] : writer.number_planes()) {
    // Means are as large as weights, so they can only overflow where a weight does.
    if (plane.role == Role::kOffset && largest <= kLargestHalf) continue;
    const auto at_largest =
        std::count_if(plane.values.begin(), plane.values.end(), [](float v) { return std::fabs(v) >= kLargestHalf; });
    if (at_largest > 0)
      found.push_back(
          fmt::format("{} of {} numbers of '{}' stand at FP16's largest, 65504", at_largest, plane.values.size(), name));
    if (plane.role != Role::kCode || tiny_weights == 0) continue;
    const auto zeros = std::count(plane.values.begin(), plane.values.end(), 0.0f);
    if (zeros > 0)
      found.push_back(fmt::format("{} of {} numbers of '{}' are zero, and {} weights are too small for FP16", zeros,
                                  plane.values.size(), name, tiny_weights));
  }
  if (tiny_rows > 0) found.push_back(fmt::format("{} rows hold only weights below FP16's smallest step, 6e-8", tiny_rows));
  if (found.empty()) return "";
  return fmt::format(
      "{}: {}; expected numbers within FP16, in which they are stored; the weights there are not what they were: exclude the "
      "matrix, or rescale it",
      matrix, fmt::join(found, "; "));
}

}  // namespace sage
