#include "kernels/cuda/launch/forward.inl"

sage::cuda::ForwardKernels sage::cuda::emulated_forward_kernels() { return KX_NAMESPACE::forward_kernels(); }
