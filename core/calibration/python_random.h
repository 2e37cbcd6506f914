// The random numbers of Python's `random` module, so that calibration draws the documents and offsets that released code draws:
//
//   seed(s)       MT19937 initialised by init_by_array (Matsumoto & Nishimura 2002) with the 32-bit words of s, low word first,
//                 as the key ([0] for s = 0)
//   getrandbits   k <= 32: the top k bits of one output; more: words low first, the last one cut to its top bits
//   randbelow(n)  k = bit_length(n); draws of k bits until one is below n
//   randint(a,b)  a + randbelow(b - a + 1)
//
// Not for anything else: everywhere but in calibration sampling use core/util/random.h.
#pragma once

#include <cstdint>
#include <random>

namespace sage {

class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  uint32_t next_u32() { return static_cast<uint32_t>(engine_()); }
  uint64_t getrandbits(int bits);              // 1 .. 64
  uint64_t randbelow(uint64_t n);              // n >= 1
  int64_t randint(int64_t low, int64_t high);  // both included, low <= high

 private:
  std::mt19937 engine_;
};

}  // namespace sage
