// Backend "cuda_on_cpu": the CUDA backend with its kernels executed on the CPU, thread by thread. For tests: it is a thousand
// times slower than `cpu`.
#pragma once

#include <memory>

#include "core/backend/backend.h"
#include "kernels/cuda/device_backend.h"

namespace sage {

std::unique_ptr<Backend> make_cuda_on_cpu_backend(cuda::Precision precision = cuda::Precision::kFloat32);

namespace cuda {
// The kernels as the executor runs them.
KernelTable emulated_kernels();
// Small, so that moderate shapes go through several slices; and exact blocks, so that a memory checker sees overruns.
constexpr DeviceSizes kEmulatedSizes = {false, size_t{256} << 10, size_t{64} << 10};
}  // namespace cuda

}  // namespace sage
