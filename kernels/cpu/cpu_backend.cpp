#include "kernels/cpu/cpu_backend.h"

#include <cblas.h>
#include <fmt/format.h>
#include <omp.h>

#include <cstdlib>

#include "core/util/errors.h"
#include "kernels/cpu/operations.h"

namespace sage {
namespace {

std::vector<const cpu::KernelTable*> usable_kernels() {
  std::vector<const cpu::KernelTable*> out;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                    __builtin_cpu_supports("popcnt");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    out.push_back(&cpu::avx512_kernels());
  if (avx2) out.push_back(&cpu::avx2_kernels());
#endif
  out.push_back(&cpu::portable_kernels());
  return out;
}

}  // namespace

namespace cpu {

void keep_openblas_serial() {
  // OpenBLAS built with OpenMP hands the number on to OpenMP, which is ours to set.
  const int threads = omp_get_max_threads();
  openblas_set_num_threads(1);
  omp_set_num_threads(threads);
}

CpuBackend::CpuBackend(const KernelTable& kernels) : k_(kernels) {
  // Parallelism is OpenMP's alone; see linear().
  keep_openblas_serial();
}

std::string CpuBackend::description() const {
  std::string version = openblas_get_config();
  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ... Cooperlake MAX_THREADS=64": the first two words are name and version.
  const size_t name_end = version.find(' ');
  if (name_end != std::string::npos) version.resize(std::min(version.size(), version.find(' ', name_end + 1)));
  return fmt::format("{} kernels, {} ({}), {} threads", k_.description, version, openblas_get_corename(),
                     omp_get_max_threads());
}

}  // namespace cpu

std::unique_ptr<Backend> make_cpu_backend(const std::string& variant) {
  const char* const named = variant.empty() ? std::getenv("SAGEPTQ_CPU_KERNELS") : nullptr;
  const std::string wanted = named != nullptr ? named : variant;
  std::string names;
  for (const cpu::KernelTable* k : usable_kernels()) {
    if (wanted.empty() || wanted == k->name) return std::make_unique<cpu::CpuBackend>(*k);
    names += (names.empty() ? "" : ", ") + std::string(k->name);
  }
  throw ResourceError("{}: this machine cannot run kernel variant '{}'; expected one of: {}; choose one of them, or none",
                      named != nullptr ? "SAGEPTQ_CPU_KERNELS" : "backend 'cpu'", wanted, names);
}

std::vector<std::string> cpu_variants() {
  std::vector<std::string> out;
  for (const cpu::KernelTable* k : usable_kernels())
    out.emplace_back(k->name);
  return out;
}

}  // namespace sage
