// Needs AVX-512 F, DQ, BW, VL and FMA; the flags for this file alone are set in CMakeLists.txt.
#if defined(__x86_64__)
#define SAGE_SIMD simd_avx512
// clang-format off: kernels.inl is written over the types of the header before it
#include "kernels/cpu/kernels.inl"
#include "kernels/cpu/simd_avx512.h"
// clang-format on

namespace sage::cpu {

const KernelTable& avx512_kernels() {
  static constexpr KernelTable table = SAGE_SIMD::make_table("avx512", "AVX-512");
  return table;
}

}  // namespace sage::cpu
#endif
