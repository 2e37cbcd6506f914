#include "strategies/coder/runs.h"

#include <algorithm>

namespace sage {
namespace {

constexpr int kPoint = 62;  // numbers in [0, 1] as multiples of 2^-62

uint64_t multiply(uint64_t a, uint64_t b) { return static_cast<uint64_t>((static_cast<unsigned __int128>(a) * b) >> kPoint); }

uint64_t power(uint64_t base, uint64_t exponent) {
  uint64_t result = uint64_t{1} << kPoint;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, base);
    base = multiply(base, base);
  }
  return result;
}

}  // namespace

FrequencyTable geometric_frequencies(uint64_t set, uint64_t positions, int last) {
  const uint64_t unset = static_cast<uint64_t>((static_cast<unsigned __int128>(positions - set) << kPoint) / positions);
  FrequencyTable t;
  t.symbols = last + 1;
  int64_t sum = 0;
  uint64_t at_least = uint64_t{1} << kPoint;  // probability of a run no shorter than the token's first
  for (int s = 0; s <= last; ++s) {
    const uint64_t next = s == last ? 0 : power(unset, first_run(s + 1));
    const uint64_t share = at_least > next ? at_least - next : 0;
    const auto f = static_cast<uint16_t>(std::max<uint64_t>(1, share >> (kPoint - kFrequencyBits)));
    t.frequency[static_cast<size_t>(s)] = f;
    sum += f;
    at_least = next;
  }
  while (sum != kFrequencyTotal) {
    uint16_t& largest = *std::max_element(t.frequency.begin(), t.frequency.begin() + t.symbols);
    const int64_t change =
        std::clamp<int64_t>(static_cast<int64_t>(kFrequencyTotal) - sum, -std::max<int64_t>(largest / 8, 1), kFrequencyTotal);
    largest = static_cast<uint16_t>(largest + change);
    sum += change;
  }
  return t;
}

}  // namespace sage
