#include "core/model/widen.h"

#include <bit>
#include <cstring>

#include "core/util/half.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace sage {

namespace {

void widen_half_scalar(const std::byte* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t h;
    std::memcpy(&h, from + 2 * i, 2);
    to[i] = half_to_float(h);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx,f16c"))) void widen_half_f16c(const std::byte* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 2 * i))));
  widen_half_scalar(from + 2 * i, count - i, to + i);
}

// clang 14's __builtin_cpu_supports does not know f16c; "avx" covers the operating system's part.
bool detect_f16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0 && __builtin_cpu_supports("avx");
}
#endif

}  // namespace

void widen_half(const std::byte* from, int64_t count, float* to) {
#if defined(__x86_64__)
  static const bool has_f16c = detect_f16c();
  if (has_f16c) return widen_half_f16c(from, count, to);
#endif
  widen_half_scalar(from, count, to);
}

void widen_bfloat16(const std::byte* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t b;
    std::memcpy(&b, from + 2 * i, 2);
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
  }
}

bool all_finite(const float* x, int64_t count) {
  // The exponent field is all ones exactly for NaN and infinity; a sum of flags vectorizes, an early exit does not.
  uint32_t bad = 0;
  for (int64_t i = 0; i < count; ++i)
    bad |= (std::bit_cast<uint32_t>(x[i]) & 0x7f800000u) == 0x7f800000u;
  return bad == 0;
}

}  // namespace sage
