#include "kernels/cuda/launch/attention.inl"

sage::cuda::AttentionKernels sage::cuda::emulated_attention_kernels() { return KX_NAMESPACE::attention_kernels(); }
