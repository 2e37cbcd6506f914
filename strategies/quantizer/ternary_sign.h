// The sign of a number as a symbol: 0 positive, 1 negative and, where torch's sgn(0) = 0 is kept, 2 zero.
#pragma once

#include <cstdint>

namespace sage {

inline int sign_alphabet(bool keep_zero) { return keep_zero ? 3 : 2; }

inline uint8_t sign_symbol(float v, bool keep_zero) {
  return v < 0 ? uint8_t{1} : keep_zero && v == 0 ? uint8_t{2} : uint8_t{0};
}

// magnitude times the sign; `symbol` is below 3.
inline float signed_value(float magnitude, uint8_t symbol) {
  constexpr float kSign[3] = {1.0f, -1.0f, 0.0f};
  return magnitude * kSign[symbol];
}

}  // namespace sage
