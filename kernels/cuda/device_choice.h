// Which device the backend computes on, and why it cannot.
#pragma once

#include <string>

#include "kernels/cuda/api.h"

namespace sage::cuda {

struct DeviceChoice {
  DeviceInfo info;      // of device 0
  std::string problem;  // "cudaErrorInsufficientDriver (35): ..."; empty where the device is usable
  bool usable() const { return problem.empty(); }
};

// Looks at device 0 (CUDA_VISIBLE_DEVICES decides which that is) without starting work on it. It must have compute
// capability 8.0, the oldest that kernels are compiled for, or newer.
DeviceChoice choose_device(Api& api);
// The same; ResourceError where it is not usable.
DeviceInfo require_device(Api& api);

// "NVIDIA L40, sm_89, 47.7 GB, 142 multiprocessors"
std::string words(const DeviceInfo& info);

}  // namespace sage::cuda
