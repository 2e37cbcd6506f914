// Launch wrappers of the splits kernels. Conventions: kernel_table.h.
#pragma once

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct SplitKernels {};

SplitKernels compiled_split_kernels();
SplitKernels emulated_split_kernels();

}  // namespace sage::cuda
