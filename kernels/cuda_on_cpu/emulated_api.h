// The CUDA runtime and cuBLAS as the device backend sees them, over host memory: device memory is malloc'ed at its exact size
// (a memory checker sees overruns) and starts as NaN; streams run their work at once; products are OpenBLAS's, column-major.
#pragma once

#include <memory>

#include "kernels/cuda/api.h"

namespace sage::cuda {

// Without `products` it is a machine that lacks cuBLAS: every product fails.
std::unique_ptr<Api> make_emulated_api(bool products = true);

}  // namespace sage::cuda
