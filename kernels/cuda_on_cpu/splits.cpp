#include "kernels/cuda/launch/splits.inl"

sage::cuda::SplitKernels sage::cuda::emulated_split_kernels() { return KX_NAMESPACE::split_kernels(); }
