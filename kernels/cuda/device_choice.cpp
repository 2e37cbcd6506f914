#include "kernels/cuda/device_choice.h"

#include "core/util/errors.h"

namespace sage::cuda {
namespace {

constexpr int kOldestMajor = 8;

}  // namespace

DeviceChoice choose_device(Api& api) {
  DeviceChoice choice;
  int count = 0;
  if (const Status s = api.device_count(&count); !s.ok()) {
    choice.problem = api.describe(s);
  } else if (count < 1) {
    choice.problem = "the driver knows no device";
  } else if (const Status info = api.device_info(0, &choice.info); !info.ok()) {
    choice.problem = "the properties of device 0 cannot be read: " + api.describe(info);
  } else if (choice.info.major < kOldestMajor) {
    choice.problem =
        fmt::format("device 0 ({}) has compute capability {}.{}", choice.info.name, choice.info.major, choice.info.minor);
  }
  return choice;
}

DeviceInfo require_device(Api& api) {
  DeviceChoice choice = choose_device(api);
  if (!choice.usable())
    throw ResourceError(
        "{}: no usable device: {}; expected a device of compute capability {}.0 or newer and its driver; choose another with "
        "CUDA_VISIBLE_DEVICES, or use --device cpu",
        api.name(), choice.problem, kOldestMajor);
  return choice.info;
}

std::string words(const DeviceInfo& info) {
  return fmt::format("{}, sm_{}{}, {:.1f} GB, {} multiprocessors", info.name, info.major, info.minor,
                     static_cast<double>(info.total_bytes) / 1e9, info.multiprocessors);
}

}  // namespace sage::cuda
