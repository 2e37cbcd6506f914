// Launch wrappers of the fits kernels; included by compiled/fits.cu (nvcc) and kernels/cuda_on_cpu/fits.cpp (executor).
#include "kernels/cuda/fit_kernels.h"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {
namespace {

sage::cuda::FitKernels fit_kernels() { return {}; }

}  // namespace
}  // namespace KX_NAMESPACE
