#include "kernels/cuda/launch/coding.inl"

sage::cuda::CodingKernels sage::cuda::emulated_coding_kernels() { return KX_NAMESPACE::coding_kernels(); }
