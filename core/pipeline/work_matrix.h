// The weights a compensator works on: in host memory and, while columns are coded by a device, in memory of the device.
#pragma once

#include "core/backend/memory.h"

namespace sage {

class WorkMatrix {
 public:
  WorkMatrix() = default;
  WorkMatrix(int64_t rows, int64_t cols) : host_(rows, cols) {}

  View<float> host() { return host_.view(); }  // after send(): as last read back
  // What operations work on: the host's memory, the device's after send().
  View<float> view() { return on_device() ? device_.view() : host_.view(); }
  bool on_device() const { return device_.size() > 0; }
  // From now on operations change the device's copy. Nothing to do on backends that work in host memory.
  void send(const Backend& backend) {
    if (backend.memory_is_host()) return;
    device_ = BackendMatrix(backend, host_.rows(), host_.cols());
    copy(backend, host_.view(), device_.view());
  }
  // Columns [first, last) as they now stand.
  View<float> read_back(const Backend& backend, int64_t first, int64_t last) {
    const View<float> columns = host_.view().columns(first, last);
    if (on_device()) copy(backend, device_.view().columns(first, last), columns);
    return columns;
  }

 private:
  Matrix host_;
  BackendMatrix device_;
};

}  // namespace sage
