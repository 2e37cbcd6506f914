// Launch wrappers of the splits kernels; included by compiled/splits.cu (nvcc) and kernels/cuda_on_cpu/splits.cpp (executor).
#include "kernels/cuda/split_kernels.h"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {
namespace {

sage::cuda::SplitKernels split_kernels() { return {}; }

}  // namespace
}  // namespace KX_NAMESPACE
