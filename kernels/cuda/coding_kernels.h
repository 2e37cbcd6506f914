// Launch wrappers of the coding kernels. Conventions: kernel_table.h.
#pragma once

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct CodingKernels {};

CodingKernels compiled_coding_kernels();
CodingKernels emulated_coding_kernels();

}  // namespace sage::cuda
