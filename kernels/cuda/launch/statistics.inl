// Launch wrappers of the statistics kernels; included by compiled/statistics.cu (nvcc) and kernels/cuda_on_cpu/statistics.cpp (executor).
#include "kernels/cuda/statistics_kernels.h"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

sage::cuda::StatisticsKernels statistics_kernels() { return {}; }

}  // namespace
}  // namespace KX_NAMESPACE
