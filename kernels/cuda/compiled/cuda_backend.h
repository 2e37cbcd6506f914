// Backend "cuda": device_backend.h with NVIDIA's libraries and the kernels nvcc compiled. Builds without CUDA have these
// functions too; they say that they are such a build.
#pragma once

#include <memory>
#include <string>

#include "core/backend/backend.h"
#include "kernels/cuda/device_backend.h"

namespace sage {

// What this program was compiled with, and the machine's driver.
struct CudaBuild {
  bool present = false;
  std::string toolkit;        // "13.0.88"
  std::string architectures;  // "sm_80, sm_86, sm_89, sm_90 + PTX"
  std::string driver;         // newest CUDA the loaded driver serves, "13.0"; "" without a driver
};
CudaBuild cuda_build();

// Whether make_cuda_backend would succeed: the device in words, or the reason why not. Starts no work on the device.
BackendStatus cuda_status();

// Takes device 0 and loads cuBLAS. ResourceError with cuda_status()'s reason.
std::unique_ptr<Backend> make_cuda_backend(cuda::Precision precision = cuda::Precision::kFloat32);

// For tests of kernels on a machine without cuBLAS: whatever needs a product fails, all else is there.
BackendStatus cuda_status_without_products();
std::unique_ptr<Backend> make_cuda_backend_without_products();

namespace cuda {
// The kernels as nvcc compiled them; only in builds with CUDA.
KernelTable compiled_kernels();
}  // namespace cuda

}  // namespace sage
