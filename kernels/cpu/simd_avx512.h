// 16-lane types on AVX-512 (F, DQ, BW, VL). See simd_portable.h for the meaning of each operation.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sage::cpu::SAGE_SIMD {

using Mask16 = uint16_t;

struct I16 {
  __m512i v;
};
struct F16 {
  __m512 v;
};
struct D16 {
  __m512d a, b;
};

inline Mask16 first_lanes(int n) { return static_cast<Mask16>((1u << n) - 1u); }
inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline F16 load_first(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
inline void store_first(float* p, F16 a, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
inline F16 set(float x) { return {_mm512_set1_ps(x)}; }
inline F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 min(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 round(F16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
inline F16 times_power_of_two(F16 a, F16 n) {
  const __m512i e = _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127)), 23);
  return {_mm512_mul_ps(a.v, _mm512_castsi512_ps(e))};
}
inline F16 abs(F16 a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x7fffffff)))};
}
inline F16 keep(F16 a, Mask16 m) { return {_mm512_maskz_mov_ps(m, a.v)}; }
inline F16 select(Mask16 m, F16 yes, F16 no) { return {_mm512_mask_mov_ps(no.v, m, yes.v)}; }
inline Mask16 greater(F16 a, F16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ); }
inline Mask16 at_least(F16 a, F16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ); }
inline I16 bits(F16 a) { return {_mm512_castps_si512(a.v)}; }
template <int kShift>
inline I16 shift_right(I16 a) {
  return {_mm512_srli_epi32(a.v, kShift)};
}
inline Mask16 equal(I16 a, uint32_t b) { return _mm512_cmpeq_epi32_mask(a.v, _mm512_set1_epi32(static_cast<int>(b))); }
inline void store(uint32_t* p, I16 a) { _mm512_storeu_si512(p, a.v); }
struct Count16 {
  __m512i v = _mm512_setzero_si512();
};
inline void count_at_least(Count16& c, F16 a, F16 b) {
  c.v = _mm512_mask_sub_epi32(c.v, at_least(a, b), c.v, _mm512_set1_epi32(-1));
}
inline void store(uint8_t* p, Count16 c) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(c.v)); }
template <int h>
inline F16 butterfly(F16 x) {
  __m512 other;
  if constexpr (h == 8) other = _mm512_shuffle_f32x4(x.v, x.v, 0x4e);
  if constexpr (h == 4) other = _mm512_shuffle_f32x4(x.v, x.v, 0xb1);
  if constexpr (h == 2) other = _mm512_permute_ps(x.v, 0x4e);
  if constexpr (h == 1) other = _mm512_permute_ps(x.v, 0xb1);
  constexpr Mask16 upper = h == 8 ? 0xff00 : h == 4 ? 0xf0f0 : h == 2 ? 0xcccc : 0xaaaa;
  return {_mm512_mask_sub_ps(_mm512_add_ps(x.v, other), upper, other, x.v)};
}
inline float largest_lane(F16 a) { return _mm512_reduce_max_ps(a.v); }
inline float lane_sum(F16 a) { return _mm512_reduce_add_ps(a.v); }

inline D16 zero_lanes() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
inline D16 load(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
inline void store(double* p, D16 x) {
  _mm512_storeu_pd(p, x.a);
  _mm512_storeu_pd(p + 8, x.b);
}
inline D16 widen(F16 x) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(x.v)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v, 1))};
}
inline D16 operator+(D16 x, D16 y) { return {_mm512_add_pd(x.a, y.a), _mm512_add_pd(x.b, y.b)}; }
inline D16 operator-(D16 x, D16 y) { return {_mm512_sub_pd(x.a, y.a), _mm512_sub_pd(x.b, y.b)}; }
inline D16 operator*(D16 x, D16 y) { return {_mm512_mul_pd(x.a, y.a), _mm512_mul_pd(x.b, y.b)}; }
inline D16 add_square(D16 x, D16 c) { return {_mm512_fmadd_pd(x.a, x.a, c.a), _mm512_fmadd_pd(x.b, x.b, c.b)}; }
inline D16 abs(D16 x) {
  const __m512i m = _mm512_set1_epi64(0x7fffffffffffffff);
  return {_mm512_castsi512_pd(_mm512_and_si512(_mm512_castpd_si512(x.a), m)),
          _mm512_castsi512_pd(_mm512_and_si512(_mm512_castpd_si512(x.b), m))};
}

inline void add_to_entry(double* entry, float w) {
  const __m256d x = _mm256_set1_pd(static_cast<double>(w));
  const __m256d one = _mm256_set1_pd(1.0);
  const __m256d magnitude = _mm256_andnot_pd(_mm256_set1_pd(-0.0), x);
  const __m256d left = _mm256_blend_pd(_mm256_blend_pd(x, magnitude, 2), one, 8);  // w, |w|, w, 1
  const __m256d right = _mm256_blend_pd(one, x, 4);                                // 1, 1, w, 1
  _mm256_store_pd(entry, _mm256_fmadd_pd(left, right, _mm256_load_pd(entry)));
}

inline void add_pair(uint64_t* pair, uint64_t a, uint64_t b) {
  auto* p = reinterpret_cast<__m128i*>(pair);
  _mm_store_si128(p, _mm_add_epi64(_mm_load_si128(p), _mm_set_epi64x(static_cast<long long>(b), static_cast<long long>(a))));
}

constexpr int kTileRows = 6;
constexpr int kTileVectors = 4;

}  // namespace sage::cpu::SAGE_SIMD
