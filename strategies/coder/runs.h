// Tokens of run lengths, and the geometric model of them, for the position half of the `range` coder.
#pragma once

#include <bit>
#include <cstdint>

#include "strategies/coder/rans.h"

namespace sage {

inline constexpr int kRunTokens = 256;

// A run g < 16 is token g. Longer: 16 + 8 (e - 4) + the three bits after the leading one, e = floor(log2 g), and e - 3 plain
// bits.
struct RunToken {
  int token = 0;
  int plain_bits = 0;
};
inline RunToken token_of(uint64_t run) {
  if (run < 16) return {static_cast<int>(run), 0};
  const int e = std::bit_width(run) - 1;
  return {16 + 8 * (e - 4) + static_cast<int>((run >> (e - 3)) & 7), e - 3};
}
inline int plain_bits_of(int token) { return token < 16 ? 0 : (token - 16) / 8 + 1; }
// Shortest run of a token.
inline uint64_t first_run(int token) {
  if (token < 16) return static_cast<uint64_t>(token);
  return static_cast<uint64_t>(8 + (token - 16) % 8) << plain_bits_of(token);
}

// Frequencies of tokens 0 .. last when each of `positions` places is set with probability set / positions independently.
// Integer arithmetic only: coder and decoder must agree on every machine. 1 <= set <= positions < 2^33.
FrequencyTable geometric_frequencies(uint64_t set, uint64_t positions, int last);

}  // namespace sage
