// The functions of CUDA C++ that kernels call, on the CPU, with CUDA's names in the global namespace, as CUDA has them.
// Results are those of the device bit for bit, except for __expf, __logf, __fdividef and rsqrtf, which devices approximate, and
// for sincospi, which is off by a rounding or two.
#pragma once

#include <math.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cuda_on_cpu/executor/cuda_types.h"
#include "kernels/cuda_on_cpu/executor/engine.h"

namespace kx {

template <class T>
inline uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>, "shuffles move values of up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(value));
  return bits;
}
template <class T>
inline T from_bits(uint64_t bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(value));  // void: some have private members
  return value;
}

}  // namespace kx

static constexpr int warpSize = 32;

// The caller's place, for fault reports.
#define KX_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

// ---- block ----
inline void __syncthreads(KX_SITE) { kx::block_barrier(kx::Vote::kNone, false, file, line); }
inline int __syncthreads_count(int p, KX_SITE) { return kx::block_barrier(kx::Vote::kCount, p != 0, file, line); }
inline int __syncthreads_and(int p, KX_SITE) { return kx::block_barrier(kx::Vote::kAll, p != 0, file, line); }
inline int __syncthreads_or(int p, KX_SITE) { return kx::block_barrier(kx::Vote::kAny, p != 0, file, line); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline void __threadfence_block() { std::atomic_thread_fence(std::memory_order_seq_cst); }

// ---- warp ----
inline void __syncwarp(unsigned mask = 0xffffffffu, KX_SITE) {
  kx::warp_collective(kx::WarpOp::kSync, mask, 0, 0, warpSize, file, line);
}
template <class T>
inline T __shfl_sync(unsigned mask, T v, int lane, int width = warpSize, KX_SITE) {
  return kx::from_bits<T>(
      kx::warp_collective(kx::WarpOp::kShuffleIndex, mask, kx::to_bits(v), static_cast<unsigned>(lane), width, file, line));
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = warpSize, KX_SITE) {
  return kx::from_bits<T>(kx::warp_collective(kx::WarpOp::kShuffleUp, mask, kx::to_bits(v), delta, width, file, line));
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = warpSize, KX_SITE) {
  return kx::from_bits<T>(kx::warp_collective(kx::WarpOp::kShuffleDown, mask, kx::to_bits(v), delta, width, file, line));
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T v, int lane_mask, int width = warpSize, KX_SITE) {
  return kx::from_bits<T>(
      kx::warp_collective(kx::WarpOp::kShuffleXor, mask, kx::to_bits(v), static_cast<unsigned>(lane_mask), width, file, line));
}
inline unsigned __ballot_sync(unsigned mask, int p, KX_SITE) {
  return static_cast<unsigned>(kx::warp_collective(kx::WarpOp::kBallot, mask, p != 0, 0, warpSize, file, line));
}
inline int __any_sync(unsigned mask, int p, KX_SITE) {
  return static_cast<int>(kx::warp_collective(kx::WarpOp::kAny, mask, p != 0, 0, warpSize, file, line));
}
inline int __all_sync(unsigned mask, int p, KX_SITE) {
  return static_cast<int>(kx::warp_collective(kx::WarpOp::kAll, mask, p != 0, 0, warpSize, file, line));
}
namespace kx {
template <class T>
concept ReducedByWarp = std::same_as<T, int> || std::same_as<T, unsigned>;
template <class T>  // int extends by its sign, unsigned by zeros: one signed comparison of 64 bits serves both
inline T warp_reduce(WarpOp op, unsigned mask, T v, const char* file, int line) {
  return static_cast<T>(warp_collective(op, mask, static_cast<uint64_t>(static_cast<int64_t>(v)), 0, warpSize, file, line));
}
}  // namespace kx
template <kx::ReducedByWarp T>
inline T __reduce_add_sync(unsigned mask, T v, KX_SITE) {
  return kx::warp_reduce(kx::WarpOp::kAdd, mask, v, file, line);
}
template <kx::ReducedByWarp T>
inline T __reduce_max_sync(unsigned mask, T v, KX_SITE) {
  return kx::warp_reduce(kx::WarpOp::kMax, mask, v, file, line);
}
template <kx::ReducedByWarp T>
inline T __reduce_min_sync(unsigned mask, T v, KX_SITE) {
  return kx::warp_reduce(kx::WarpOp::kMin, mask, v, file, line);
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned v, KX_SITE) {
  return kx::warp_reduce(kx::WarpOp::kAnd, mask, v, file, line);
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned v, KX_SITE) {
  return kx::warp_reduce(kx::WarpOp::kOr, mask, v, file, line);
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v, KX_SITE) {
  return kx::warp_reduce(kx::WarpOp::kXor, mask, v, file, line);
}

// ---- atomics: relaxed, return the old value ----
namespace kx {
template <class T, class... U>
concept OneOf = (std::same_as<T, U> || ...);
template <class T>
concept AtomicInteger = OneOf<T, int, unsigned, unsigned long long>;
template <class T>
concept AtomicNumber = AtomicInteger<T> || OneOf<T, float, double>;

template <class T, class F>
inline T atomic_update(T* p, const F& next) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  Bits* at = reinterpret_cast<Bits*>(p);
  Bits old = __atomic_load_n(at, __ATOMIC_RELAXED), fresh;
  do
    fresh = std::bit_cast<Bits>(static_cast<T>(next(std::bit_cast<T>(old))));
  while (!__atomic_compare_exchange_n(at, &old, fresh, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return std::bit_cast<T>(old);
}
// Integer addition wraps, as on the device.
template <class T>
inline T wrapping_add(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}
}  // namespace kx
template <kx::AtomicNumber T>
inline T atomicAdd(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return kx::wrapping_add(old, v); });
}
template <kx::OneOf<int, unsigned> T>
inline T atomicSub(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return static_cast<T>(static_cast<unsigned>(old) - static_cast<unsigned>(v)); });
}
template <kx::OneOf<int, unsigned, long long, unsigned long long> T>
inline T atomicMax(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return old < v ? v : old; });
}
template <kx::OneOf<int, unsigned, long long, unsigned long long> T>
inline T atomicMin(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return v < old ? v : old; });
}
template <kx::AtomicInteger T>
inline T atomicAnd(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return old & v; });
}
template <kx::AtomicInteger T>
inline T atomicOr(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return old | v; });
}
template <kx::AtomicInteger T>
inline T atomicXor(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T old) { return old ^ v; });
}
template <kx::OneOf<int, unsigned, unsigned long long, float> T>
inline T atomicExch(T* p, std::type_identity_t<T> v) {
  return kx::atomic_update(p, [v](T) { return v; });
}
template <kx::AtomicInteger T>
inline T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> v) {
  __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// ---- loads and stores with cache hints, which have no meaning here ----
namespace kx {
template <class T>
inline void check_aligned(const T* p, const char* file, int line) {
  if (reinterpret_cast<uintptr_t>(p) % alignof(T) != 0) misaligned_access(alignof(T), file, line);
}
}  // namespace kx
template <class T>
inline T __ldg(const T* p, KX_SITE) {
  kx::check_aligned(p, file, line);
  return *p;
}
template <class T>
inline T __ldcs(const T* p, KX_SITE) {
  return __ldg(p, file, line);
}
template <class T>
inline T __ldcg(const T* p, KX_SITE) {
  return __ldg(p, file, line);
}
template <class T>
inline void __stcs(T* p, std::type_identity_t<T> v, KX_SITE) {
  kx::check_aligned(p, file, line);
  *p = v;
}
#undef KX_SITE

// ---- bits ----
inline int __popc(unsigned v) { return std::popcount(v); }
inline int __popcll(unsigned long long v) { return std::popcount(v); }
inline int __clz(int v) { return std::countl_zero(static_cast<unsigned>(v)); }
inline int __clzll(long long v) { return std::countl_zero(static_cast<unsigned long long>(v)); }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
  v = (v >> 16) | (v << 16);
  v = ((v >> 8) & 0x00ff00ffu) | ((v & 0x00ff00ffu) << 8);
  v = ((v >> 4) & 0x0f0f0f0fu) | ((v & 0x0f0f0f0fu) << 4);
  v = ((v >> 2) & 0x33333333u) | ((v & 0x33333333u) << 2);
  return ((v >> 1) & 0x55555555u) | ((v & 0x55555555u) << 1);
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned shift) {
  return static_cast<unsigned>(((static_cast<uint64_t>(hi) << 32 | lo) << (shift & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned shift) {
  return static_cast<unsigned>((static_cast<uint64_t>(hi) << 32 | lo) >> (shift & 31));
}
// Byte i of the result is byte s_i of (b:a), s_i the low three bits of nibble i; its fourth bit repeats that byte's sign
// instead.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = (selector >> (4 * i)) & 15u;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (nibble & 7u))) & 0xffu;
    if ((nibble & 8u) != 0) byte = (byte & 0x80u) != 0 ? 0xffu : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i)
    c += ((a >> (8 * i)) & 255u) * ((b >> (8 * i)) & 255u);
  return c;
}
inline int __dp4a(int a, int b, int c) {
  unsigned sum = static_cast<unsigned>(c);  // wraps, as on the device
  for (int i = 0; i < 4; ++i)
    sum += static_cast<unsigned>(static_cast<int8_t>(a >> (8 * i)) * static_cast<int8_t>(b >> (8 * i)));
  return static_cast<int>(sum);
}
inline unsigned __float_as_uint(float v) { return std::bit_cast<unsigned>(v); }
inline int __float_as_int(float v) { return std::bit_cast<int>(v); }
inline float __uint_as_float(unsigned v) { return std::bit_cast<float>(v); }
inline float __int_as_float(int v) { return std::bit_cast<float>(v); }
inline long long __double_as_longlong(double v) { return std::bit_cast<long long>(v); }
inline double __longlong_as_double(long long v) { return std::bit_cast<double>(v); }

// ---- arithmetic: _rn is what IEEE 754 prescribes ----
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __frcp_rn(float v) { return 1.0f / v; }
inline float __fsqrt_rn(float v) { return std::sqrt(v); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dsqrt_rn(double v) { return std::sqrt(v); }
inline float __double2float_rn(double v) { return static_cast<float>(v); }
inline float __int2float_rn(int v) { return static_cast<float>(v); }
inline float __uint2float_rn(unsigned v) { return static_cast<float>(v); }
// Out of range saturates and NaN is 0, as on the device; in C++ it is undefined.
inline int __float2int_rn(float v) {
  if (v != v) return 0;
  if (v >= 0x1p31f) return INT32_MAX;
  if (v < -0x1p31f) return INT32_MIN;
  return static_cast<int>(std::nearbyint(v));
}
inline float __saturatef(float v) { return v > 0.0f ? (v < 1.0f ? v : 1.0f) : 0.0f; }  // NaN is 0
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline float __fdividef(float a, float b) { return a / b; }
// glibc declares functions of these two names for its own use; nothing else calls them.
inline float __expf(float v) noexcept { return std::exp(v); }
inline float __logf(float v) noexcept { return std::log(v); }

// sin and cos of pi v.
inline void sincospi(double v, double* sine, double* cosine) {
  const double angle = 3.14159265358979323846 * std::remainder(v, 2.0);
  *sine = std::sin(angle);
  *cosine = std::cos(angle);
}

// Of two floats, NaN loses, as fmax has it and CUDA's max too.
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) inline std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmax(static_cast<T>(a), static_cast<T>(b));
  else
    return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
requires(std::is_arithmetic_v<A>&& std::is_arithmetic_v<B>) inline std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  if constexpr (std::is_floating_point_v<T>)
    return std::fmin(static_cast<T>(a), static_cast<T>(b));
  else
    return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
