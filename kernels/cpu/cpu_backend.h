// Backend "cpu": OpenBLAS for matrix products, own vector kernels for everything else, threads by OpenMP.
//
// The vector kernels exist three times (AVX-512, AVX2+FMA, portable C++); the best one the machine has is chosen when the
// backend is made. Work is cut into tasks whose bounds depend on the shape alone, and partial results are combined in task
// order, so results do not depend on the number of threads. Statistics and quantization also give the same bytes with all
// three variants: every sum runs in 16 interleaved double lanes that are folded in one fixed tree.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend/backend.h"

namespace sage {

// With no argument the variant that SAGEPTQ_CPU_KERNELS names, else the best of this machine; otherwise "avx512", "avx2" or
// "portable" (tests compare them). ResourceError for a variant this machine cannot run.
std::unique_ptr<Backend> make_cpu_backend(const std::string& variant = "");

// The variants this machine can run, best first.
std::vector<std::string> cpu_variants();

namespace cpu {
// One thread inside OpenBLAS, and OpenMP's own number of threads as it was.
void keep_openblas_serial();
}  // namespace cpu

}  // namespace sage
