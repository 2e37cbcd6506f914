// Needs AVX-512 F, DQ, BW, VL and FMA; the flags for this file alone are set in CMakeLists.txt.
#if defined(__x86_64__)
#define SAGE_SIMD simd_avx512
#define SAGE_SIMD_TYPES "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/kernels.inl"

namespace sage::cpu {

const KernelTable& avx512_kernels() {
  static constexpr KernelTable table = SAGE_SIMD::make_table("avx512", "AVX-512");
  return table;
}

}  // namespace sage::cpu
#endif
