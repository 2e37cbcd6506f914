#include "kernels/cuda/launch/statistics.inl"

sage::cuda::StatisticsKernels sage::cuda::emulated_statistics_kernels() { return KX_NAMESPACE::statistics_kernels(); }
