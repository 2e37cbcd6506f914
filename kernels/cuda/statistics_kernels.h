#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct StatisticsKernels {};

StatisticsKernels compiled_statistics_kernels();
StatisticsKernels emulated_statistics_kernels();

}  // namespace sage::cuda
