// Launch wrappers of the head kernels; included by compiled/head.cu (nvcc) and kernels/cuda_on_cpu/head.cpp (executor).
#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

sage::cuda::HeadKernels head_kernels() { return {}; }

}  // namespace
}  // namespace KX_NAMESPACE
