#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"

#include "kernels/cuda_on_cpu/emulated_api.h"

namespace sage {

cuda::KernelTable cuda::emulated_kernels() {
  return {emulated_forward_kernels(),    emulated_attention_kernels(),   emulated_head_kernels(),
          emulated_statistics_kernels(), emulated_fit_kernels(),         emulated_split_kernels(),
          emulated_coding_kernels(),     emulated_calibration_kernels(), emulated_packed_kernels()};
}

std::unique_ptr<Backend> make_cuda_on_cpu_backend(cuda::Precision precision) {
  return std::make_unique<cuda::DeviceBackend>(cuda::make_emulated_api(), cuda::emulated_kernels(), precision,
                                               cuda::kEmulatedSizes);
}

}  // namespace sage
