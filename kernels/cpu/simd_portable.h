// 16-lane types in plain C++ (the compiler vectorizes what it can). The meaning of every operation is defined here; simd_avx2.h
// and simd_avx512.h must agree with it bit for bit, except fma, which may round once.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace sage::cpu::SAGE_SIMD {

using Mask16 = uint16_t;

struct I16 {
  uint32_t v[16];
};
struct F16 {
  float v[16];
};
struct D16 {
  double v[16];
};

#define SAGE_LANES for (int l = 0; l < 16; ++l)

inline F16 load(const float* p) {
  F16 r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
inline F16 load_first(const float* p, int n) {  // lanes n.. are 0
  F16 r{};
  std::memcpy(r.v, p, sizeof(float) * static_cast<size_t>(n));
  return r;
}
inline void store(float* p, F16 a) { std::memcpy(p, a.v, sizeof a.v); }
inline void store_first(float* p, F16 a, int n) { std::memcpy(p, a.v, sizeof(float) * static_cast<size_t>(n)); }
inline F16 set(float x) {
  F16 r;
  SAGE_LANES r.v[l] = x;
  return r;
}
inline F16 operator+(F16 a, F16 b) {
  SAGE_LANES a.v[l] += b.v[l];
  return a;
}
inline F16 operator-(F16 a, F16 b) {
  SAGE_LANES a.v[l] -= b.v[l];
  return a;
}
inline F16 operator*(F16 a, F16 b) {
  SAGE_LANES a.v[l] *= b.v[l];
  return a;
}
inline F16 operator/(F16 a, F16 b) {
  SAGE_LANES a.v[l] /= b.v[l];
  return a;
}
inline F16 fma(F16 a, F16 b, F16 c) {
  SAGE_LANES c.v[l] += a.v[l] * b.v[l];
  return c;
}
inline F16 min(F16 a, F16 b) {  // b where either is NaN
  SAGE_LANES a.v[l] = a.v[l] < b.v[l] ? a.v[l] : b.v[l];
  return a;
}
inline F16 max(F16 a, F16 b) {
  SAGE_LANES a.v[l] = a.v[l] > b.v[l] ? a.v[l] : b.v[l];
  return a;
}
inline F16 round(F16 a) {  // |a| < 2^22
  SAGE_LANES a.v[l] = (a.v[l] + 12582912.0f) - 12582912.0f;
  return a;
}
inline F16 times_power_of_two(F16 a, F16 n) {  // a * 2^n for integer n in [-126, 127]
  // Adding 1.5 * 2^23 + 127 leaves n + 127 in the lowest bits of the pattern (and NaN stays harmless).
  SAGE_LANES a.v[l] *= std::bit_cast<float>(std::bit_cast<uint32_t>(n.v[l] + 12583039.0f) << 23);
  return a;
}
inline F16 abs(F16 a) {
  SAGE_LANES a.v[l] = std::fabs(a.v[l]);
  return a;
}
inline F16 keep(F16 a, Mask16 m) {  // +0 where the bit is not set
  SAGE_LANES a.v[l] = (m >> l) & 1 ? a.v[l] : 0.0f;
  return a;
}
inline F16 select(Mask16 m, F16 yes, F16 no) {
  SAGE_LANES no.v[l] = (m >> l) & 1 ? yes.v[l] : no.v[l];
  return no;
}
inline Mask16 greater(F16 a, F16 b) {
  uint32_t m = 0;
  SAGE_LANES m |= static_cast<uint32_t>(a.v[l] > b.v[l]) << l;
  return static_cast<Mask16>(m);
}
inline Mask16 at_least(F16 a, F16 b) {
  uint32_t m = 0;
  SAGE_LANES m |= static_cast<uint32_t>(a.v[l] >= b.v[l]) << l;
  return static_cast<Mask16>(m);
}
inline I16 bits(F16 a) { return std::bit_cast<I16>(a); }
template <int kShift>
inline I16 shift_right(I16 a) {
  SAGE_LANES a.v[l] >>= kShift;
  return a;
}
inline Mask16 equal(I16 a, uint32_t b) {
  uint32_t m = 0;
  SAGE_LANES m |= static_cast<uint32_t>(a.v[l] == b) << l;
  return static_cast<Mask16>(m);
}
inline void store(uint32_t* p, I16 a) { std::memcpy(p, a.v, sizeof a.v); }
// Counters of comparisons that held, one per lane.
struct Count16 {
  uint8_t v[16] = {};
};
inline void count_at_least(Count16& c, F16 a, F16 b) {
  SAGE_LANES c.v[l] = static_cast<uint8_t>(c.v[l] + (a.v[l] >= b.v[l] ? 1 : 0));
}
inline void store(uint8_t* p, Count16 c) { std::memcpy(p, c.v, sizeof c.v); }
// Lane l becomes x[l] + x[l ^ h] where bit h of l is clear, x[l ^ h] - x[l] where it is set. h = 1, 2, 4, 8.
template <int h>
inline F16 butterfly(F16 x) {
  F16 r;
  SAGE_LANES r.v[l] = l & h ? x.v[l ^ h] - x.v[l] : x.v[l] + x.v[l ^ h];
  return r;
}
inline float largest_lane(F16 a) {
  float m = a.v[0];
  for (int l = 1; l < 16; ++l)
    m = m < a.v[l] ? a.v[l] : m;
  return m;
}
inline float lane_sum(F16 a) {
  for (int step = 8; step > 0; step /= 2)
    for (int l = 0; l < step; ++l)
      a.v[l] += a.v[l + step];
  return a.v[0];
}

inline D16 zero_lanes() { return D16{}; }
inline D16 load(const double* p) {
  D16 r;
  std::memcpy(r.v, p, sizeof r.v);
  return r;
}
inline void store(double* p, D16 a) { std::memcpy(p, a.v, sizeof a.v); }
inline D16 widen(F16 a) {
  D16 r;
  SAGE_LANES r.v[l] = a.v[l];
  return r;
}
inline D16 operator+(D16 a, D16 b) {
  SAGE_LANES a.v[l] += b.v[l];
  return a;
}
inline D16 operator-(D16 a, D16 b) {
  SAGE_LANES a.v[l] -= b.v[l];
  return a;
}
inline D16 operator*(D16 a, D16 b) {
  SAGE_LANES a.v[l] *= b.v[l];
  return a;
}
// x^2 + c for x that came from floats: the square is exact in double, so a fused form gives the same bits.
inline D16 add_square(D16 x, D16 c) {
  SAGE_LANES c.v[l] += x.v[l] * x.v[l];
  return c;
}
inline D16 abs(D16 a) {
  SAGE_LANES a.v[l] = std::fabs(a.v[l]);
  return a;
}

#undef SAGE_LANES

// entry += {w, |w|, w^2, 1}
inline void add_to_entry(double* entry, float w) {
  const double x = w;
  entry[0] += x;
  entry[1] += std::fabs(x);
  entry[2] += x * x;
  entry[3] += 1.0;
}

inline void add_pair(uint64_t* pair, uint64_t a, uint64_t b) {
  pair[0] += a;
  pair[1] += b;
}

// Rows and 16-wide columns of the register tile of tile_product.
constexpr int kTileRows = 4;
constexpr int kTileVectors = 1;

}  // namespace sage::cpu::SAGE_SIMD
