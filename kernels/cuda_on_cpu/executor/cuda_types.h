// Stand-ins for the types of CUDA that kernels use, with their names, layouts and alignments, and the conversions of the 16-bit
// ones: to nearest, ties to even; every NaN becomes 0x7fff, as the toolkit has it. Needs nothing of the toolkit.
#pragma once

#include <cstdint>

#include "core/util/half.h"

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
constexpr float2 make_float2(float x, float y) { return {x, y}; }
constexpr float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
constexpr int2 make_int2(int x, int y) { return {x, y}; }
constexpr int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
constexpr uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
constexpr uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
constexpr double2 make_double2(double x, double y) { return {x, y}; }

// The bits are private: the toolkit's types have no member of that name, so kernels go through the functions.
class __half {
 public:
  __half() = default;

 private:
  explicit constexpr __half(uint16_t bits) : bits_(bits) {}
  uint16_t bits_;
  friend constexpr __half __ushort_as_half(unsigned short bits);
  friend constexpr unsigned short __half_as_ushort(__half h);
};
class __nv_bfloat16 {
 public:
  __nv_bfloat16() = default;

 private:
  explicit constexpr __nv_bfloat16(uint16_t bits) : bits_(bits) {}
  uint16_t bits_;
  friend constexpr __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits);
  friend constexpr unsigned short __bfloat16_as_ushort(__nv_bfloat16 b);
};
using half = __half;

constexpr __half __ushort_as_half(unsigned short bits) { return __half(bits); }
constexpr unsigned short __half_as_ushort(__half h) { return h.bits_; }
constexpr __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16(bits); }
constexpr unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits_; }

inline float __half2float(__half h) { return sage::half_to_float(__half_as_ushort(h)); }
inline __half __float2half_rn(float f) { return __ushort_as_half(f != f ? 0x7fff : sage::float_to_half(f)); }
inline __half __float2half(float f) { return __float2half_rn(f); }
inline float __bfloat162float(__nv_bfloat16 b) { return sage::bfloat16_to_float(__bfloat16_as_ushort(b)); }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return __ushort_as_bfloat16(f != f ? 0x7fff : sage::float_to_bfloat16(f)); }
inline __nv_bfloat16 __float2bfloat16(float f) { return __float2bfloat16_rn(f); }
