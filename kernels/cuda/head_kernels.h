#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct HeadKernels {};

HeadKernels compiled_head_kernels();
HeadKernels emulated_head_kernels();

}  // namespace sage::cuda
