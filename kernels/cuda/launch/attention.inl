// Launch wrappers of the attention kernels; included by compiled/attention.cu (nvcc) and kernels/cuda_on_cpu/attention.cpp (executor).
#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

sage::cuda::AttentionKernels attention_kernels() { return {}; }

}  // namespace
}  // namespace KX_NAMESPACE
