// Launch wrappers of the kernels of calibration and error compensation. Conventions: kernel_table.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct CalibrationKernels {
  // out = x in double; out contiguous.
  int (*widen)(const float* x, int64_t ldx, int64_t rows, int64_t cols, double* out, Stream stream) = nullptr;
  // x[i][j] -= fl(u[i] e[j])
  int (*subtract_outer)(const float* u, const float* e, float* x, int64_t ldx, int64_t rows, int64_t cols,
                        Stream stream) = nullptr;
};

CalibrationKernels compiled_calibration_kernels();
CalibrationKernels emulated_calibration_kernels();

}  // namespace sage::cuda
