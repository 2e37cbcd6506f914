#include "kernels/cpu/openblas_choice.h"

#include <cblas.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "kernels/cpu/cpu_backend.h"

namespace sage {

const char* better_openblas_kernels(std::string_view chosen, bool avx2, bool avx512) {
  constexpr std::string_view kWithoutAvx2[] = {
      "Generic", "Katmai", "Coppermine",  "Northwood", "Prescott",   "Banias",     "Core",         "Core2",
      "Penryn",  "Atom",   "Dunnington",  "Nehalem",   "Athlon",     "Opteron",    "Opteron_SSE3", "Barcelona",
      "Bobcat",  "Nano",   "Sandybridge", "Bulldozer", "Piledriver", "Steamroller"};
  if (!avx2 || std::find(std::begin(kWithoutAvx2), std::end(kWithoutAvx2), chosen) == std::end(kWithoutAvx2)) return nullptr;
  return avx512 ? "SkylakeX" : "Haswell";
}

void use_openblas_kernels_of_this_machine(char** argv) {
  constexpr const char* kVariable = "OPENBLAS_CORETYPE";
  if (std::getenv(kVariable) != nullptr) return;
  // Started through the dynamic loader (ld.so PROGRAM ...), which is then what /proc names: no interpreter was mapped beside it.
  if (getauxval(AT_BASE) == 0) return;
  const auto can_run = [variants = cpu_variants()](const char* name) {
    return std::find(variants.begin(), variants.end(), name) != variants.end();
  };
  const char* const better = better_openblas_kernels(openblas_get_corename(), can_run("avx2"), can_run("avx512"));
  if (better == nullptr) return;
  setenv(kVariable, better, 0);
  execv("/proc/self/exe", argv);
  // Where that is not possible the program is slow, not wrong.
  unsetenv(kVariable);
}

}  // namespace sage
