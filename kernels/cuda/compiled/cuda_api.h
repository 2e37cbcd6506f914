// The calls of api.h made to NVIDIA's libraries: the CUDA runtime, linked statically, and cuBLAS, loaded at run time.
//
// cuBLAS works with one handle on one stream, in which it is deterministic: the same bits at every run on one kind of device
// with one version of the library. FP32 products are FP32 throughout: the default math mode never uses TF32. Sizes are 64-bit.
#pragma once

#include <memory>

#include "kernels/cuda/api.h"
#include "kernels/cuda/compiled/cublas_library.h"

namespace sage::cuda {

// Makes no call yet. Without `blas`, cuBLAS is loaded for the first product.
std::unique_ptr<Api> make_cuda_api(std::shared_ptr<const CublasFunctions> blas = nullptr);

// "13.0" of the driver, "" where none is loaded.
std::string driver_version();

}  // namespace sage::cuda
