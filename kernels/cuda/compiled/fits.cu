#include "kernels/cuda/launch/fits.inl"

sage::cuda::FitKernels sage::cuda::compiled_fit_kernels() { return KX_NAMESPACE::fit_kernels(); }
