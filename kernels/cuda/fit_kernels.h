// Launch wrappers of the fits kernels. Conventions: kernel_table.h.
#pragma once

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct FitKernels {};

FitKernels compiled_fit_kernels();
FitKernels emulated_fit_kernels();

}  // namespace sage::cuda
