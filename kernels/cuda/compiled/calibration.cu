#include "kernels/cuda/launch/calibration.inl"

sage::cuda::CalibrationKernels sage::cuda::compiled_calibration_kernels() { return KX_NAMESPACE::calibration_kernels(); }
