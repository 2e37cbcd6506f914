#include "kernels/cuda/status.h"

namespace sage::cuda {

void check(const Api& api, Status status, const std::string& what) {
  if (status.ok()) return;
  if (status.library == Status::Library::kRuntime && status.code == Api::kOutOfMemory)
    throw ResourceError(
        "{}: {} failed: {}; expected enough free device memory; close other programs on the device, or evaluate fewer windows "
        "at a time",
        api.name(), what, api.describe(status));
  // After most other errors the device's context is lost, and every later call fails with the same code.
  throw ResourceError(
      "{}: {} failed: {}; expected success; run the same command again (finished layers are kept); `sageptq doctor` tells the "
      "device's state",
      api.name(), what, api.describe(status));
}

}  // namespace sage::cuda
