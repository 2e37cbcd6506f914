// 16-lane types on AVX2 and FMA. See simd_portable.h for the meaning of each operation.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace sage::cpu::SAGE_SIMD {

using Mask16 = uint16_t;

struct I16 {
  __m256i a, b;
};
struct F16 {
  __m256 a, b;
};
struct D16 {
  __m256d a, b, c, d;
};

inline __m256i lane_mask(uint32_t m) {  // all ones in lane l where bit l of m is set
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(m)), bit), bit);
}
inline __m256i lane_mask_high(uint32_t m) { return lane_mask(m >> 8); }
inline uint32_t first_lanes(int n) { return (1u << n) - 1u; }
inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline F16 load_first(const float* p, int n) {
  const uint32_t m = first_lanes(n);
  // The upper half is not touched when nothing of it is wanted: p + 8 may lie outside the array.
  return {_mm256_maskload_ps(p, lane_mask(m)), n > 8 ? _mm256_maskload_ps(p + 8, lane_mask_high(m)) : _mm256_setzero_ps()};
}
inline void store(float* p, F16 x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline void store_first(float* p, F16 x, int n) {
  const uint32_t m = first_lanes(n);
  _mm256_maskstore_ps(p, lane_mask(m), x.a);
  if (n > 8) _mm256_maskstore_ps(p + 8, lane_mask_high(m), x.b);
}
inline F16 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 operator+(F16 x, F16 y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline F16 operator-(F16 x, F16 y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline F16 operator*(F16 x, F16 y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline F16 operator/(F16 x, F16 y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline F16 fma(F16 x, F16 y, F16 z) { return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)}; }
inline F16 min(F16 x, F16 y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline F16 max(F16 x, F16 y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline F16 round(F16 x) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
}
inline __m256 power_of_two(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
inline F16 times_power_of_two(F16 x, F16 n) {
  return {_mm256_mul_ps(x.a, power_of_two(n.a)), _mm256_mul_ps(x.b, power_of_two(n.b))};
}
inline F16 abs(F16 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline F16 keep(F16 x, Mask16 m) {
  return {_mm256_and_ps(x.a, _mm256_castsi256_ps(lane_mask(m))), _mm256_and_ps(x.b, _mm256_castsi256_ps(lane_mask_high(m)))};
}
inline F16 select(Mask16 m, F16 yes, F16 no) {
  return {_mm256_blendv_ps(no.a, yes.a, _mm256_castsi256_ps(lane_mask(m))),
          _mm256_blendv_ps(no.b, yes.b, _mm256_castsi256_ps(lane_mask_high(m)))};
}
inline Mask16 join(__m256 low, __m256 high) {
  return static_cast<Mask16>(static_cast<uint32_t>(_mm256_movemask_ps(low)) | static_cast<uint32_t>(_mm256_movemask_ps(high))
                                                                                  << 8);
}
inline Mask16 greater(F16 x, F16 y) { return join(_mm256_cmp_ps(x.a, y.a, _CMP_GT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GT_OQ)); }
inline Mask16 at_least(F16 x, F16 y) { return join(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)); }
inline I16 bits(F16 x) { return {_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)}; }
template <int kShift>
inline I16 shift_right(I16 x) {
  return {_mm256_srli_epi32(x.a, kShift), _mm256_srli_epi32(x.b, kShift)};
}
inline Mask16 equal(I16 x, uint32_t y) {
  const __m256i v = _mm256_set1_epi32(static_cast<int>(y));
  return join(_mm256_castsi256_ps(_mm256_cmpeq_epi32(x.a, v)), _mm256_castsi256_ps(_mm256_cmpeq_epi32(x.b, v)));
}
inline void store(uint32_t* p, I16 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), x.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), x.b);
}
struct Count16 {
  __m256i a = _mm256_setzero_si256(), b = _mm256_setzero_si256();
};
inline void count_at_least(Count16& c, F16 x, F16 y) {
  c.a = _mm256_sub_epi32(c.a, _mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ)));
  c.b = _mm256_sub_epi32(c.b, _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ)));
}
inline void store(uint8_t* p, Count16 c) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(c.a, c.b), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
template <int h>
inline __m256 butterfly_half(__m256 x) {
  __m256 other;
  if constexpr (h == 4) other = _mm256_permute2f128_ps(x, x, 1);
  if constexpr (h == 2) other = _mm256_permute_ps(x, 0x4e);
  if constexpr (h == 1) other = _mm256_permute_ps(x, 0xb1);
  constexpr int upper = h == 4 ? 0xf0 : h == 2 ? 0xcc : 0xaa;
  return _mm256_blend_ps(_mm256_add_ps(x, other), _mm256_sub_ps(other, x), upper);
}
template <int h>
inline F16 butterfly(F16 x) {
  if constexpr (h == 8) {
    return {_mm256_add_ps(x.a, x.b), _mm256_sub_ps(x.a, x.b)};
  } else {
    return {butterfly_half<h>(x.a), butterfly_half<h>(x.b)};
  }
}
inline float largest_lane(F16 x) {
  const __m256 m = _mm256_max_ps(x.a, x.b);
  __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  h = _mm_max_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_shuffle_ps(h, h, 1)));
}
inline float lane_sum(F16 x) {
  const __m256 m = _mm256_add_ps(x.a, x.b);
  __m128 h = _mm_add_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}

inline D16 zero_lanes() { return {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd()}; }
inline D16 load(const double* p) {
  return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4), _mm256_loadu_pd(p + 8), _mm256_loadu_pd(p + 12)};
}
inline void store(double* p, D16 x) {
  _mm256_storeu_pd(p, x.a);
  _mm256_storeu_pd(p + 4, x.b);
  _mm256_storeu_pd(p + 8, x.c);
  _mm256_storeu_pd(p + 12, x.d);
}
inline D16 widen(F16 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x.a)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.a, 1)),
          _mm256_cvtps_pd(_mm256_castps256_ps128(x.b)), _mm256_cvtps_pd(_mm256_extractf128_ps(x.b, 1))};
}
inline D16 operator+(D16 x, D16 y) {
  return {_mm256_add_pd(x.a, y.a), _mm256_add_pd(x.b, y.b), _mm256_add_pd(x.c, y.c), _mm256_add_pd(x.d, y.d)};
}
inline D16 operator-(D16 x, D16 y) {
  return {_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b), _mm256_sub_pd(x.c, y.c), _mm256_sub_pd(x.d, y.d)};
}
inline D16 operator*(D16 x, D16 y) {
  return {_mm256_mul_pd(x.a, y.a), _mm256_mul_pd(x.b, y.b), _mm256_mul_pd(x.c, y.c), _mm256_mul_pd(x.d, y.d)};
}
inline D16 add_square(D16 x, D16 s) {
  return {_mm256_fmadd_pd(x.a, x.a, s.a), _mm256_fmadd_pd(x.b, x.b, s.b), _mm256_fmadd_pd(x.c, x.c, s.c),
          _mm256_fmadd_pd(x.d, x.d, s.d)};
}
inline D16 abs(D16 x) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_andnot_pd(sign, x.a), _mm256_andnot_pd(sign, x.b), _mm256_andnot_pd(sign, x.c), _mm256_andnot_pd(sign, x.d)};
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
constexpr int kTileVectors = 1;

}  // namespace sage::cpu::SAGE_SIMD
