// Bit, arithmetic and atomic functions against closed forms.
#include <gtest/gtest.h>

#include <climits>
#include <set>

#include "tests/cuda_executor/support.h"

namespace KX_NAMESPACE {
namespace {

template <class T>
__global__ void draw_tickets(T* counter, T* tickets) {
  tickets[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(counter, T{1});
}
__global__ void add_by_exchange(unsigned long long* sum) {  // CAS until it holds
  unsigned long long seen = atomicCAS(sum, 0, 0), expected = 0;
  do {
    expected = seen;
    seen = atomicCAS(sum, expected, expected + threadIdx.x);
  } while (seen != expected);
}
__global__ void all_atomics(int* i, unsigned* u, float* f) {
  const int t = static_cast<int>(threadIdx.x);
  atomicMax(i, t - 10);
  atomicMin(i + 1, t - 10);
  atomicSub(i + 2, t);
  atomicMax(u, static_cast<unsigned>(t) + 0x80000000u);
  atomicMin(u + 1, 0xffffffffu - static_cast<unsigned>(t));
  atomicOr(u + 2, 1u << (t % 32));
  atomicAnd(u + 3, ~(1u << (t % 32)));
  atomicXor(u + 4, static_cast<unsigned>(t));
  atomicExch(f, 7.0f);
}

}  // namespace
}  // namespace KX_NAMESPACE

namespace kx::test {
namespace {

TEST(Functions, CountBits) {
  EXPECT_EQ(__popc(0), 0);
  EXPECT_EQ(__popc(0xffffffffu), 32);
  EXPECT_EQ(__popcll(0xf00000000000000fu), 8);
  EXPECT_EQ(__clz(0), 32);
  EXPECT_EQ(__clz(-1), 0);
  EXPECT_EQ(__clzll(0), 64);
  EXPECT_EQ(__ffs(0), 0);
  EXPECT_EQ(__ffsll(0), 0);
  for (int i = 0; i < 64; ++i) {
    const unsigned long long bit = 1ull << i;
    EXPECT_EQ(__clzll(static_cast<long long>(bit)), 63 - i);
    EXPECT_EQ(__ffsll(static_cast<long long>(bit)), i + 1);
    if (i >= 32) continue;
    EXPECT_EQ(__clz(static_cast<int>(bit)), 31 - i);
    EXPECT_EQ(__ffs(static_cast<int>(bit)), i + 1);
    EXPECT_EQ(__brev(static_cast<unsigned>(bit)), 1u << (31 - i));
  }
  EXPECT_EQ(__brev(0x80000003u), 0xc0000001u);
}

TEST(Functions, MoveBits) {
  EXPECT_EQ(__funnelshift_l(0x80000001u, 0x12345678u, 4), 0x23456788u);
  EXPECT_EQ(__funnelshift_l(0x80000001u, 0x12345678u, 32), 0x12345678u) << "only the low five bits of the shift count";
  EXPECT_EQ(__funnelshift_r(0x80000001u, 0x12345678u, 4), 0x88000000u);
  EXPECT_EQ(__funnelshift_r(0x80000001u, 0x12345678u, 33), 0x40000000u);
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7531u), 0x77553311u);
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x0246u), 0x00224466u);
  EXPECT_EQ(__byte_perm(0x00008000u, 0x80u, 0x9c81u), 0xffff0080u) << "the fourth bit of a nibble asks for the sign";
  EXPECT_EQ(__float_as_uint(-1.0f), 0xbf800000u);
  EXPECT_EQ(__float_as_int(1.0f), 0x3f800000);
  EXPECT_EQ(__uint_as_float(0x40400000u), 3.0f);
  EXPECT_EQ(__int_as_float(0x40400000), 3.0f);
  EXPECT_EQ(__double_as_longlong(1.0), 0x3ff0000000000000ll);
  EXPECT_EQ(__longlong_as_double(0x4008000000000000ll), 3.0);
}

TEST(Functions, DotProductOfBytes) {
  EXPECT_EQ(__dp4a(static_cast<int>(0xff0203feu), 0x01010101, 5), 5 - 1 + 2 + 3 - 2);
  EXPECT_EQ(__dp4a(0xff0203feu, 0x01010101u, 5u), 5u + 255 + 2 + 3 + 254);
  EXPECT_EQ(__dp4a(static_cast<int>(0x80808080u), static_cast<int>(0x80808080u), 0), 4 * 128 * 128);
  EXPECT_EQ(__dp4a(0x00000001, 0x00000001, INT_MAX), INT_MIN) << "wraps";
}

TEST(Functions, RoundAsIeee754Says) {
  constexpr float kUlp = 0x1p-23f;
  EXPECT_EQ(__fadd_rn(1.0f, kUlp / 2), 1.0f);
  EXPECT_EQ(__fadd_rn(1.0f + kUlp, kUlp / 2), 1.0f + 2 * kUlp);
  EXPECT_EQ(__fsub_rn(1.0f, 0x1p-26f), 1.0f);
  EXPECT_EQ(__fmul_rn(1.0f + 0x1p-12f, 1.0f + 0x1p-12f), 1.0f + 0x1p-11f);
  EXPECT_EQ(__fmaf_rn(1.0f + 0x1p-12f, 1.0f + 0x1p-12f, -(1.0f + 0x1p-11f)), 0x1p-24f) << "one rounding";
  EXPECT_EQ(__fma_rn(1.0 + 0x1p-30, 1.0 + 0x1p-30, -(1.0 + 0x1p-29)), 0x1p-60);
  // Not contracted to one rounding when used together.
  volatile float a = 1.0f + 0x1p-12f;
  EXPECT_EQ(__fadd_rn(__fmul_rn(a, a), -(1.0f + 0x1p-11f)), 0.0f);
  volatile double d = 1.0 + 0x1p-27;
  EXPECT_EQ(__dadd_rn(__dmul_rn(d, d), -(1.0 + 0x1p-26)), 0.0);
  EXPECT_EQ(__dsub_rn(1.0, 0x1p-55), 1.0);
  EXPECT_EQ(__float_as_uint(__frcp_rn(3.0f)), 0x3eaaaaabu);
  EXPECT_EQ(__float_as_uint(__fdiv_rn(2.0f, 3.0f)), 0x3f2aaaabu);
  EXPECT_EQ(__float_as_uint(__fsqrt_rn(2.0f)), 0x3fb504f3u);
  EXPECT_EQ(__double_as_longlong(__ddiv_rn(1.0, 3.0)), 0x3fd5555555555555ll);
  EXPECT_EQ(__double_as_longlong(__dsqrt_rn(2.0)), 0x3ff6a09e667f3bcdll);
  EXPECT_EQ(__double2float_rn(1.0 + 0x1p-24), 1.0f);
  EXPECT_EQ(__double2float_rn(1.0 + 0x1p-24 + 0x1p-50), 1.0f + kUlp);
  EXPECT_EQ(__int2float_rn(0x1000001), 0x1p24f);
  EXPECT_EQ(__uint2float_rn(0xffffffffu), 0x1p32f);
}

TEST(Functions, RoundToIntegers) {
  EXPECT_EQ(__float2int_rn(0.5f), 0);
  EXPECT_EQ(__float2int_rn(1.5f), 2);
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-1.5f), -2);
  EXPECT_EQ(__float2int_rn(-0.5f), 0);
  EXPECT_EQ(__float2int_rn(0x1p31f), INT_MAX);
  EXPECT_EQ(__float2int_rn(kInfinity), INT_MAX);
  EXPECT_EQ(__float2int_rn(-0x1p31f), INT_MIN);
  EXPECT_EQ(__float2int_rn(-kInfinity), INT_MIN);
  EXPECT_EQ(__float2int_rn(std::nanf("")), 0);
}

TEST(Functions, Approximations) {
  EXPECT_NEAR(__expf(1.0f), 2.718281828f, 1e-6f);
  EXPECT_NEAR(__logf(10.0f), 2.302585093f, 1e-6f);
  EXPECT_NEAR(rsqrtf(16.0f), 0.25f, 1e-7f);
  EXPECT_NEAR(__fdividef(1.0f, 8.0f), 0.125f, 1e-7f);
}

TEST(Functions, ExtremaAndNan) {
  const float nan = std::nanf("");
  EXPECT_EQ(max(nan, 1.0f), 1.0f);
  EXPECT_EQ(max(1.0f, nan), 1.0f);
  EXPECT_EQ(min(nan, 1.0f), 1.0f);
  EXPECT_EQ(min(1.0f, nan), 1.0f);
  EXPECT_EQ(max(-3, 2), 2);
  EXPECT_EQ(min(-3, 2), -3);
  EXPECT_EQ(max(-1, 2u), 0xffffffffu) << "compared as unsigned";
  EXPECT_EQ(min(1.0f, 0.5), 0.5);
  EXPECT_EQ(__saturatef(nan), 0.0f);
  EXPECT_EQ(__saturatef(-1.0f), 0.0f);
  EXPECT_EQ(__saturatef(0.25f), 0.25f);
  EXPECT_EQ(__saturatef(2.0f), 1.0f);
}

template <class T>
void check_tickets() {
  const WithOptions scope({.workers = 4, .order = Order::kRandom, .seed = 5});
  DeviceBuffer<T> counter(std::vector<T>(1, T{0})), tickets(1024);
  ASSERT_EQ(launch("draw_tickets", 16, 64, 0, nullptr, KX_NAMESPACE::draw_tickets<T>, counter.data(), tickets.data()), 0);
  EXPECT_EQ(counter.download()[0], T{1024});
  std::set<T> different;
  for (const T t : tickets.download())
    different.insert(t);
  EXPECT_EQ(different.size(), 1024u);
  EXPECT_EQ(*different.begin(), T{0});
  EXPECT_EQ(*different.rbegin(), T{1023});
}
TEST(Functions, AtomicAddGivesEveryoneAnOldValueOfTheirOwn) {
  check_tickets<int>();
  check_tickets<unsigned>();
  check_tickets<unsigned long long>();
  check_tickets<float>();
  check_tickets<double>();
}

TEST(Functions, Atomics) {
  DeviceBuffer<unsigned long long> sum(std::vector<unsigned long long>(1, 1ull << 40));
  ASSERT_EQ(launch("add_by_exchange", 8, 64, 0, nullptr, KX_NAMESPACE::add_by_exchange, sum.data()), 0);
  EXPECT_EQ(sum.download()[0], (1ull << 40) + 8 * (63 * 64 / 2));
  DeviceBuffer<int> i(std::vector<int>{-100, 100, 0});
  DeviceBuffer<unsigned> u(std::vector<unsigned>{1, 0xffffffffu, 0, 0xffffffffu, 0});
  DeviceBuffer<float> f(1);
  ASSERT_EQ(launch("all_atomics", 1, 31, 0, nullptr, KX_NAMESPACE::all_atomics, i.data(), u.data(), f.data()), 0);
  EXPECT_EQ(i.download(), (std::vector<int>{20, -10, -465}));
  EXPECT_EQ(u.download(),
            (std::vector<unsigned>{0x8000001eu, 0xffffffffu - 30, 0x7fffffffu, 0x80000000u, 31}));  // 0 ^ .. ^ 30 = 31
  EXPECT_EQ(f.download()[0], 7.0f);
  int top = INT_MAX;
  EXPECT_EQ(atomicAdd(&top, 1), INT_MAX);
  EXPECT_EQ(top, INT_MIN) << "wraps";
}

}  // namespace
}  // namespace kx::test
