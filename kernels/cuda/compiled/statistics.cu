#include "kernels/cuda/launch/statistics.inl"

sage::cuda::StatisticsKernels sage::cuda::compiled_statistics_kernels() { return KX_NAMESPACE::statistics_kernels(); }
