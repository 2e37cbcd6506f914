// Runs anywhere; the flags for this file alone are set in CMakeLists.txt.
#define SAGE_SIMD simd_portable
#define SAGE_SIMD_TYPES "kernels/cpu/simd_portable.h"
#include "kernels/cpu/kernels.inl"

namespace sage::cpu {

const KernelTable& portable_kernels() {
  static constexpr KernelTable table = SAGE_SIMD::make_table("portable", "portable");
  return table;
}

}  // namespace sage::cpu
