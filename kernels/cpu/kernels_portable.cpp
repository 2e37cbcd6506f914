// Runs anywhere; the flags for this file alone are set in CMakeLists.txt.
#define SAGE_SIMD simd_portable
// clang-format off: kernels.inl is written over the types of the header before it
#include "kernels/cpu/kernels.inl"
#include "kernels/cpu/simd_portable.h"
// clang-format on

namespace sage::cpu {

const KernelTable& portable_kernels() {
  static constexpr KernelTable table = SAGE_SIMD::make_table("portable", "portable");
  return table;
}

}  // namespace sage::cpu
