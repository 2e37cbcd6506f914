#include "kernels/cuda/launch/packed.inl"

sage::cuda::PackedKernels sage::cuda::emulated_packed_kernels() { return KX_NAMESPACE::packed_kernels(); }
