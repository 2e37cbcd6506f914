// When transfers and named stretches of computing began and ended on the device, from events in its streams: shows how much of
// the one hides behind the other.
//
// A span costs two events while recording is on, nothing otherwise. Beyond kMostSpans nothing more is recorded. A device that
// refuses an event leaves a gap here; its failure is noticed by the next operation.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "kernels/cuda/api.h"

namespace sage::cuda {

class Timeline {
 public:
  static constexpr size_t kMostSpans = size_t{1} << 16;

  // Time starts now, on `compute`. `api` must outlive the object, and it all spans.
  Timeline(Api& api, Stream compute);
  ~Timeline();
  Timeline(const Timeline&) = delete;
  Timeline& operator=(const Timeline&) = delete;

  void record(bool on);  // forgets all spans; those still open are never seen
  // What is queued on `stream` until the last copy of the result is gone; nullptr while recording is off.
  std::shared_ptr<const void> span(const char* stream_name, std::string what, Stream stream);
  // Spans that ended, by start. Waits for the device.
  std::vector<TimelineEntry> entries();

 private:
  struct Span {
    const char* stream_name = "";
    std::string what;
    Event start = nullptr, end = nullptr;  // end: nullptr until then
  };
  Event mark(Stream stream) noexcept;  // nullptr: refused
  void end(uint64_t id, Stream stream) noexcept;
  void forget() noexcept;

  Api& api_;
  Event epoch_ = nullptr;
  std::mutex mutex_;  // of what follows
  bool on_ = false;
  std::map<uint64_t, Span> spans_;  // by a running number
  uint64_t next_ = 0;
};

}  // namespace sage::cuda
