// Needs AVX2 and FMA; the flags for this file alone are set in CMakeLists.txt.
#if defined(__x86_64__)
#define SAGE_SIMD simd_avx2
// clang-format off: kernels.inl is written over the types of the header before it
#include "kernels/cpu/kernels.inl"
#include "kernels/cpu/simd_avx2.h"
// clang-format on

namespace sage::cpu {

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = SAGE_SIMD::make_table("avx2", "AVX2");
  return table;
}

}  // namespace sage::cpu
#endif
