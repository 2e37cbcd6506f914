// Counter-based random numbers (Philox4x32-10, Salmon et al., SC 2011). A stream is named by (seed, key words), never by the
// order in which threads or matrices ask, so results do not depend on scheduling.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace sage {

// FNV-1a, to turn names ("layer.3.q_proj", "graph-nodes") into key words. Not for integrity: that is SHA-256.
constexpr uint64_t hash_name(std::string_view s) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (char c : s) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return h;
}

class Rng {
 public:
  Rng(uint64_t seed, uint64_t stream) : key_{mix(seed ^ mix(stream))}, stream_(mix(stream + 0x9e3779b97f4a7c15ull)) {}
  Rng(uint64_t seed, std::string_view stream) : Rng(seed, hash_name(stream)) {}

  uint64_t next_u64() {
    if (used_ == 2) {
      refill();
      used_ = 0;
    }
    return buffer_[used_++];
  }
  // Uniform in [0, bound), unbiased (Lemire's rejection). bound >= 1.
  uint64_t below(uint64_t bound) {
    unsigned __int128 m = static_cast<unsigned __int128>(next_u64()) * bound;
    if (static_cast<uint64_t>(m) < bound) {
      const uint64_t threshold = (0 - bound) % bound;
      while (static_cast<uint64_t>(m) < threshold) m = static_cast<unsigned __int128>(next_u64()) * bound;
    }
    return static_cast<uint64_t>(m >> 64);
  }
  double uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }  // [0, 1)
  double normal() {                                                             // Box-Muller, one of the pair
    const double u = 1.0 - uniform(), v = uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586476925 * v);
  }

 private:
  static constexpr uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  void refill() {
    std::array<uint32_t, 4> c{static_cast<uint32_t>(counter_), static_cast<uint32_t>(counter_ >> 32),
                              static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)};
    uint32_t k0 = static_cast<uint32_t>(key_), k1 = static_cast<uint32_t>(key_ >> 32);
    for (int round = 0; round < 10; ++round) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * c[0], p1 = uint64_t{0xCD9E8D57u} * c[2];
      c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
           static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    ++counter_;
    buffer_ = {c[0] | (uint64_t{c[1]} << 32), c[2] | (uint64_t{c[3]} << 32)};
  }
  uint64_t key_;
  uint64_t stream_;
  uint64_t counter_ = 0;
  std::array<uint64_t, 2> buffer_{};
  int used_ = 2;
};

}  // namespace sage
