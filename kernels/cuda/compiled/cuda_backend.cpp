#include "kernels/cuda/compiled/cuda_backend.h"

#include "core/util/errors.h"
#include "kernels/cuda/compiled/cuda_api.h"
#include "kernels/cuda/device_choice.h"

namespace sage {

cuda::KernelTable cuda::compiled_kernels() {
  return {compiled_forward_kernels(),    compiled_attention_kernels(),   compiled_head_kernels(),
          compiled_statistics_kernels(), compiled_fit_kernels(),         compiled_split_kernels(),
          compiled_coding_kernels(),     compiled_calibration_kernels(), compiled_packed_kernels()};
}

CudaBuild cuda_build() { return {true, SAGE_CUDA_TOOLKIT, SAGE_CUDA_COMPILED_FOR, cuda::driver_version()}; }

BackendStatus cuda_status_without_products() {
  const std::unique_ptr<cuda::Api> api = cuda::make_cuda_api();
  const cuda::DeviceChoice choice = cuda::choose_device(*api);
  return {"cuda", choice.usable(), choice.usable() ? cuda::words(choice.info) : choice.problem};
}

BackendStatus cuda_status() {
  try {
    BackendStatus status = cuda_status_without_products();
    if (status.available) static_cast<void>(cuda::load_cublas());
    return status;
  } catch (const ResourceError& e) {
    return {"cuda", false, e.what()};
  }
}

std::unique_ptr<Backend> make_cuda_backend(cuda::Precision precision) {
  std::unique_ptr<cuda::Api> api = cuda::make_cuda_api();
  cuda::require_device(*api);  // before cuBLAS, whose absence matters only where there is a device
  return std::make_unique<cuda::DeviceBackend>(cuda::make_cuda_api(cuda::load_cublas()), cuda::compiled_kernels(), precision);
}

std::unique_ptr<Backend> make_cuda_backend_without_products() {
  std::unique_ptr<cuda::Api> api = cuda::make_cuda_api();
  cuda::require_device(*api);
  return std::make_unique<cuda::DeviceBackend>(std::move(api), cuda::compiled_kernels(), cuda::Precision::kFloat32);
}

}  // namespace sage
