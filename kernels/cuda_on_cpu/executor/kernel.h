// Write a CUDA kernel once; nvcc compiles it for the device, any C++20 compiler for the CPU.
//
//   #include "kernels/cuda_on_cpu/executor/kernel.h"
//   namespace KX_NAMESPACE {
//   __global__ void scale(float* x, int n, float by) {
//     KX_DYNAMIC_SHARED(float, tile);                      // in place of extern __shared__ float tile[]
//     ...
//   }
//   }  // namespace KX_NAMESPACE
//   int error = kx::launch("scale", grid, block, shared_bytes, stream, KX_NAMESPACE::scale, x, n, 2.0f);
//
// Four spellings differ from plain CUDA, in both builds alike:
//   KX_NAMESPACE                kx_dev under nvcc, kx_emu on the CPU: both builds of a kernel can be linked into one program
//   KX_EMULATED                 0 under nvcc, 1 on the CPU: `#if` around inline PTX and its twin
//   KX_DYNAMIC_SHARED(T, name)  T* name, the block's dynamic shared memory, aligned to 16 bytes
//   kx::launch(name, grid, block, shared_bytes, stream, kernel, arguments...)
//     Returns a CUDA error code: 0, or what is wrong with the launch (9, invalid configuration, where nothing could run: an
//     empty grid too). Under nvcc: raises the kernel's limit where shared_bytes is over 48 KB, launches, never throws, waits
//     for nothing. On the CPU: runs the whole grid before it returns, and throws kx::KernelFault when a thread breaks the rules
//     of CUDA (engine.h). kx::Stream is void*: a cudaStream_t under nvcc, unused on the CPU.
//
// On the CPU every CUDA thread is a fiber, a block runs on one OS thread, and barriers and warp collectives switch fibers.
// What is offered: static and dynamic shared memory; __syncthreads and its votes; __syncwarp, shuffles, votes and reductions
// with masks and widths; atomics; the arithmetic and bit intrinsics of device_functions.h; the types of cuda_types.h. Not
// offered: __activemask, grid-wide synchronisation, clusters, textures, launches from kernels, cooperative groups. What cannot
// be seen here: weak memory order (fences do nothing visible), occupancy, coalescing, bank conflicts, the last bits of rsqrtf,
// __expf and their like. A thread that spins until another acts hangs: fibers are not preempted. Static shared memory keeps
// what the block before it left there; dynamic shared memory starts as NaN. A stack has 64 KB.
//
// Helpers called by kernels are `__device__ __forceinline__` functions in KX_NAMESPACE. 16-bit types store, float computes.
#pragma once

#if defined(__CUDACC__)
#include "kernels/cuda_on_cpu/executor/device_build.cuh"
#else
#include "kernels/cuda_on_cpu/executor/emulated_build.h"
#endif
