// 16-bit conversions, all of them, against the definition of the formats.
#include <gtest/gtest.h>

#include <cmath>

#include "core/util/half.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace kx {
namespace {

// The value of `bits` in a format with `exponent_bits` and `mantissa_bits`, from the definition in IEEE 754.
double value_of(unsigned bits, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits) & top;
  const double fraction = std::ldexp(static_cast<double>(bits & ((1u << mantissa_bits) - 1)), -mantissa_bits);
  const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
  if (exponent == top) return fraction != 0.0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias);
  return sign * std::ldexp(1.0 + fraction, exponent - bias);
}

struct Format {
  int exponent_bits, mantissa_bits;
  float (*decode)(unsigned short);
  unsigned short (*encode)(float);
};
const Format kHalf{5, 10, [](unsigned short h) { return __half2float(__ushort_as_half(h)); },
                   [](float f) { return __half_as_ushort(__float2half_rn(f)); }};
const Format kBfloat16{8, 7, [](unsigned short b) { return __bfloat162float(__ushort_as_bfloat16(b)); },
                       [](float f) { return __bfloat16_as_ushort(__float2bfloat16_rn(f)); }};

void check_decoding(const Format& format) {
  for (unsigned i = 0; i < 0x10000u; ++i) {
    const auto bits = static_cast<unsigned short>(i);
    const double expected = value_of(bits, format.exponent_bits, format.mantissa_bits);
    const float value = format.decode(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << i;
      ASSERT_EQ(format.encode(value), 0x7fff) << i;
    } else {
      ASSERT_EQ(static_cast<double>(value), expected) << i;
      ASSERT_EQ(std::signbit(value), (bits & 0x8000u) != 0) << i;
      ASSERT_EQ(format.encode(value), bits);
    }
  }
}

// Encoding is monotonic, so the floats around the middle between each two neighbours decide it everywhere.
void check_rounding(const Format& format) {
  const unsigned infinity = ((1u << format.exponent_bits) - 1) << format.mantissa_bits;
  for (unsigned low = 0; low < infinity; ++low) {
    const double a = value_of(low, format.exponent_bits, format.mantissa_bits);
    // Beyond the largest value comes what would be next; from the middle on, that is infinity.
    const double b = low + 1 < infinity ? value_of(low + 1, format.exponent_bits, format.mantissa_bits)
                                        : std::ldexp(1.0, 1 << (format.exponent_bits - 1));
    const auto middle = static_cast<float>((a + b) / 2);
    ASSERT_EQ(static_cast<double>(middle), (a + b) / 2) << "not exact in float: the check is void";
    const unsigned even = low % 2 == 0 ? low : low + 1;
    for (const unsigned sign : {0u, 0x8000u}) {
      const float s = sign != 0 ? -1.0f : 1.0f;
      ASSERT_EQ(format.encode(s * middle), sign | even) << low;
      ASSERT_EQ(format.encode(s * std::nextafterf(middle, 0.0f)), sign | low) << low;
      ASSERT_EQ(format.encode(s * std::nextafterf(middle, kInfinity)), sign | (low + 1)) << low;
    }
  }
  EXPECT_EQ(format.encode(kInfinity), infinity);
  EXPECT_EQ(format.encode(-kInfinity), 0x8000u | infinity);
  EXPECT_EQ(format.encode(std::nextafterf(kInfinity, 0.0f)), infinity);
}

TEST(Conversions, HalfDecodes) { check_decoding(kHalf); }
TEST(Conversions, HalfRoundsToNearestEven) { check_rounding(kHalf); }
TEST(Conversions, Bfloat16Decodes) { check_decoding(kBfloat16); }
TEST(Conversions, Bfloat16RoundsToNearestEven) { check_rounding(kBfloat16); }

TEST(Conversions, AgreeWithTheHost) {
  for (unsigned i = 0; i < 0x10000u; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float h = sage::half_to_float(bits), b = sage::bfloat16_to_float(bits);
    if (h == h) {
      ASSERT_EQ(std::bit_cast<uint32_t>(__half2float(__ushort_as_half(bits))), std::bit_cast<uint32_t>(h));
    }
    if (b == b) {
      ASSERT_EQ(std::bit_cast<uint32_t>(__bfloat162float(__ushort_as_bfloat16(bits))), std::bit_cast<uint32_t>(b));
    }
  }
  EXPECT_EQ(__half_as_ushort(__float2half(1.0f)), 0x3c00);
  EXPECT_EQ(__bfloat16_as_ushort(__float2bfloat16(1.0f)), 0x3f80);
}

TEST(Conversions, TypesHaveTheSizesAndAlignmentsOfCuda) {
  static_assert(sizeof(__half) == 2 && alignof(__half) == 2 && sizeof(__nv_bfloat16) == 2 && alignof(__nv_bfloat16) == 2);
  static_assert(sizeof(float2) == 8 && alignof(float2) == 8 && sizeof(uint2) == 8 && alignof(uint2) == 8 && alignof(int2) == 8);
  static_assert(sizeof(float4) == 16 && alignof(float4) == 16 && sizeof(uint4) == 16 && alignof(uint4) == 16);
  static_assert(sizeof(int4) == 16 && alignof(int4) == 16 && sizeof(double2) == 16 && alignof(double2) == 16);
  static_assert(sizeof(uint3) == 12 && sizeof(dim3) == 12);
  const float4 f = make_float4(1, 2, 3, 4);
  EXPECT_EQ(f.x + 10 * f.y + 100 * f.z + 1000 * f.w, 4321.0f);
  const uint4 u = make_uint4(1, 2, 3, 4);
  EXPECT_EQ(u.x + 10 * u.y + 100 * u.z + 1000 * u.w, 4321u);
  const int4 i = make_int4(1, 2, 3, 4);
  EXPECT_EQ(i.x + 10 * i.y + 100 * i.z + 1000 * i.w, 4321);
  EXPECT_EQ(make_float2(1, 2).y + 10 * make_float2(1, 2).x, 12.0f);
  EXPECT_EQ(make_uint2(1, 2).y + 10 * make_uint2(1, 2).x, 12u);
  EXPECT_EQ(make_int2(1, 2).y + 10 * make_int2(1, 2).x, 12);
  EXPECT_EQ(make_double2(1, 2).y + 10 * make_double2(1, 2).x, 12.0);
}

}  // namespace
}  // namespace kx
