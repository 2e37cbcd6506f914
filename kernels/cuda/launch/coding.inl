// Launch wrappers of the coding kernels; included by compiled/coding.cu (nvcc) and kernels/cuda_on_cpu/coding.cpp (executor).
#include "kernels/cuda/coding_kernels.h"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {
namespace {

sage::cuda::CodingKernels coding_kernels() { return {}; }

}  // namespace
}  // namespace KX_NAMESPACE
