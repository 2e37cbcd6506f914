// kernel.h under nvcc: CUDA itself, and the four spellings of kernel.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#define KX_NAMESPACE kx_dev
#define KX_EMULATED 0
// One array for all kernels of a file: extern __shared__ arrays of one name must have one type.
#define KX_DYNAMIC_SHARED(T, name)                                  \
  extern __shared__ __align__(16) unsigned char kx_shared_bytes[]; \
  T* name = reinterpret_cast<T*>(kx_shared_bytes)

namespace kx {

using Stream = void*;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class... P, class... A>
int launch(const char* /*name*/, dim3 grid, dim3 block, size_t shared_bytes, Stream stream, void (*kernel)(P...), A... arguments) {
  if (shared_bytes > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (error != cudaSuccess) {
      static_cast<void>(cudaGetLastError());  // reported here, so not to be found again by the next launch
      return static_cast<int>(error);
    }
  }
  kernel<<<grid, block, shared_bytes, static_cast<cudaStream_t>(stream)>>>(arguments...);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace kx
