#include "kernels/cuda/launch/packed.inl"

sage::cuda::PackedKernels sage::cuda::compiled_packed_kernels() { return KX_NAMESPACE::packed_kernels(); }
