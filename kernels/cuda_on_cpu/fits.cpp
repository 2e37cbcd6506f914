#include "kernels/cuda/launch/fits.inl"

sage::cuda::FitKernels sage::cuda::emulated_fit_kernels() { return KX_NAMESPACE::fit_kernels(); }
