// kernel.h on the CPU: the words of CUDA C++ as macros, and kx::launch. Include kernel.h, not this file.
#pragma once

#include <math.h>    // isnan, fabs, exp and their like in the global namespace for every floating type, as CUDA has them
#include <stdlib.h>  // abs for integers
#include <string.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <tuple>

#include "kernels/cuda_on_cpu/executor/cuda_types.h"
#include "kernels/cuda_on_cpu/executor/device_functions.h"
#include "kernels/cuda_on_cpu/executor/engine.h"

#define KX_NAMESPACE kx_emu
#define KX_EMULATED 1
#define KX_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(kx::dynamic_shared())

// Kernels have internal linkage: AddressSanitizer puts no redzones around the statics (__shared__) of inline functions.
#define __global__ __attribute__((unused)) static
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#undef __forceinline__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#ifdef KX_SERIAL
#define __shared__ static  // one OS thread; no redzones around thread-local variables either
#else
#define __shared__ static thread_local  // an OS thread runs one block at a time
#endif
#define threadIdx (kx::this_thread->index)
#define blockIdx (kx::this_block->index)
#define blockDim (kx::this_block->size)
#define gridDim (kx::this_block->grid)

namespace kx {

using Stream = void*;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class... P, class... A>
int launch(const char* name, dim3 grid, dim3 block, size_t shared_bytes, Stream, void (*kernel)(P...), A... arguments) {
  struct Call {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  };
  const Call call{kernel, std::tuple<P...>(arguments...)};
  return run_grid({name, grid, block, shared_bytes,
                   [](const void* c) {
                     const Call& self = *static_cast<const Call*>(c);
                     std::apply(self.kernel, self.arguments);
                   },
                   &call});
}

}  // namespace kx
