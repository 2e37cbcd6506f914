#include "core/calibration/python_random.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

namespace sage {

namespace {

// A seed sequence in the sense of <random> that hands the engine its whole state, as init_by_array computes it.
class KeyedState {
 public:
  using result_type = uint32_t;
  explicit KeyedState(uint64_t seed) : key_{static_cast<uint32_t>(seed)} {
    if (seed >> 32 != 0) key_.push_back(static_cast<uint32_t>(seed >> 32));
  }
  template <class It>
  void generate(It first, It last) const {
    const auto n = static_cast<size_t>(last - first);
    std::vector<uint32_t> state(n);
    state[0] = 19650218u;
    for (size_t i = 1; i < n; ++i)
      state[i] = 1812433253u * (state[i - 1] ^ (state[i - 1] >> 30)) + static_cast<uint32_t>(i);
    const auto mixed = [&](size_t i) { return state[i - 1] ^ (state[i - 1] >> 30); };
    size_t i = 1, j = 0;
    const auto next = [&] {
      if (++i >= n) {
        state[0] = state[n - 1];
        i = 1;
      }
    };
    for (size_t k = std::max(n, key_.size()); k > 0; --k) {
      state[i] = (state[i] ^ (mixed(i) * 1664525u)) + key_[j] + static_cast<uint32_t>(j);
      next();
      if (++j >= key_.size()) j = 0;
    }
    for (size_t k = n - 1; k > 0; --k) {
      state[i] = (state[i] ^ (mixed(i) * 1566083941u)) - static_cast<uint32_t>(i);
      next();
    }
    state[0] = 0x80000000u;
    std::copy(state.begin(), state.end(), first);
  }

 private:
  std::vector<uint32_t> key_;
};

}  // namespace

PythonRandom::PythonRandom(uint64_t seed) {
  KeyedState state(seed);
  engine_.seed(state);
}

uint64_t PythonRandom::getrandbits(int bits) {
  if (bits <= 32) return next_u32() >> (32 - bits);
  const uint64_t low = next_u32();
  return low | uint64_t{next_u32() >> (64 - bits)} << 32;
}

uint64_t PythonRandom::randbelow(uint64_t n) {
  const int bits = std::bit_width(n);
  uint64_t r = getrandbits(bits);
  while (r >= n)
    r = getrandbits(bits);
  return r;
}

int64_t PythonRandom::randint(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(randbelow(static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1));
}

}  // namespace sage
