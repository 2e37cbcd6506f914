#include "kernels/cuda/launch/head.inl"

sage::cuda::HeadKernels sage::cuda::compiled_head_kernels() { return KX_NAMESPACE::head_kernels(); }
