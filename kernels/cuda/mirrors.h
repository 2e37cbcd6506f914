// Copies on the device of host memory that is held (Backend::hold): sent over once, on a stream of their own, while the compute
// stream works on something else.
//
// Pageable host memory goes through two pinned buffers, filled and sent in turns: the host's copy into one runs
// beside the bus transfer from the other, and both beside the kernels of the compute stream.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/tensor/view.h"
#include "kernels/cuda/api.h"
#include "kernels/cuda/device_memory.h"

namespace sage::cuda {

class Mirrors {
 public:
  // All references must outlive the object, and it whatever hold() gave. pinned_bytes: of each buffer, at least a float.
  Mirrors(Api& api, DeviceMemory& memory, Stream compute, size_t pinned_bytes);
  ~Mirrors();
  Mirrors(const Mirrors&) = delete;
  Mirrors& operator=(const Mirrors&) = delete;

  // Sends w over. Returns when the host memory was read (it may be unmapped later only after the hold ends); the transfer's end
  // is an event that the first use waits for. nullptr for an empty view and for memory of the device.
  std::shared_ptr<const void> hold(WeightView w);

  Stream stream() const { return transfer_; }  // that transfers run on

  // The copy of a view all of which is held, ready for use on the compute stream; data == nullptr when it is not.
  WeightView find(WeightView w);
  // A 16-bit version of a view all of which is held; `ld` elements from row to row. Made of the whole held matrix at first use
  // by `convert(source, target)`, which queues work on the compute stream and may throw. nullptr when the view is not held.
  struct Converted {
    const void* data = nullptr;
    int64_t ld = 0;
  };
  template <class Convert>
  Converted find_converted(WeightView w, Number number, const Convert& convert) {
    const std::lock_guard lock(mutex_);
    Mirror* m = covering(w);
    if (m == nullptr) return {};
    if (m->converted == nullptr || m->converted_to != number) {
      make_ready(*m);
      memory_.give(std::exchange(m->converted, nullptr), compute_);
      m->converted = memory_.take(static_cast<size_t>(m->host.size()) * number_bytes(number), compute_, "hold");
      m->converted_to = number;
      try {
        convert(WeightView(m->device, m->host.rows, m->host.cols), m->converted);
      } catch (...) {  // what it holds is not the matrix
        memory_.give(std::exchange(m->converted, nullptr), compute_);
        throw;
      }
    }
    return {static_cast<const char*>(m->converted) + static_cast<size_t>(offset(*m, w)) * number_bytes(number), m->host.cols};
  }

 private:
  struct Mirror {
    WeightView host;
    float* device = nullptr;  // host.cols elements from row to row
    Event sent = nullptr;
    bool ready = false;  // the compute stream waits for `sent` already
    void* converted = nullptr;
    Number converted_to = Number::kFloat32;
  };
  void send(WeightView w, float* device);
  void make_ready(Mirror& m);
  Mirror* covering(WeightView w);
  static int64_t offset(const Mirror& m, WeightView part);  // elements, in the copy
  void drop(uint64_t id) noexcept;

  Api& api_;
  DeviceMemory& memory_;
  const Stream compute_;
  const size_t pinned_bytes_;
  Stream transfer_ = nullptr;
  std::mutex transfer_mutex_;  // of the pinned buffers
  std::array<void*, 2> pinned_ = {};
  std::array<Event, 2> free_again_ = {};
  std::mutex mutex_;                    // of what follows
  std::map<uint64_t, Mirror> mirrors_;  // by a running number
  uint64_t next_ = 0;
};

}  // namespace sage::cuda
