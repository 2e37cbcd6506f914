// How real parameters become what a file holds, beyond plain rounding: finite, and where they divide, never zero.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "core/strategy/planes.h"
#include "core/util/half.h"

namespace sage {

inline constexpr float kSmallestHalf = 0x1p-24f;

// A parameter as stored. Overflow would decode to infinity, so it saturates (and is warned about: core/pipeline/half_range.h).
inline float stored_number(double v, Numerics numerics) {
  constexpr double kLargest = std::numeric_limits<float>::max();
  const float f = static_cast<float>(std::clamp(v, -kLargest, kLargest));
  return numerics == Numerics::kPacked ? round_to_finite_half(f) : f;
}

// A parameter weights are divided by: positive, and still positive once stored.
inline float stored_divisor(double v, Numerics numerics) {
  return std::max(stored_number(v, numerics),
                  numerics == Numerics::kPacked ? kSmallestHalf : std::numeric_limits<float>::min());
}

// negative ? -v : v without a branch: signs of weights are coin flips to a branch predictor.
inline float with_sign(float v, bool negative) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(v) ^ (static_cast<uint32_t>(negative) << 31));
}

}  // namespace sage
