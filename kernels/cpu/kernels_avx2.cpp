// Needs AVX2 and FMA; the flags for this file alone are set in CMakeLists.txt.
#if defined(__x86_64__)
#define SAGE_SIMD simd_avx2
#define SAGE_SIMD_TYPES "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/kernels.inl"

namespace sage::cpu {

const KernelTable& avx2_kernels() {
  static constexpr KernelTable table = SAGE_SIMD::make_table("avx2", "AVX2");
  return table;
}

}  // namespace sage::cpu
#endif
