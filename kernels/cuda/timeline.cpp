#include "kernels/cuda/timeline.h"

#include <algorithm>

#include "kernels/cuda/status.h"

namespace sage::cuda {

Timeline::Timeline(Api& api, Stream compute) : api_(api), epoch_(mark(compute)) {}

Timeline::~Timeline() {
  forget();
  if (epoch_ != nullptr) static_cast<void>(api_.destroy_event(epoch_));
}

Event Timeline::mark(Stream stream) noexcept {
  Event event = nullptr;
  if (!api_.create_event(&event).ok()) return nullptr;
  if (api_.record(event, stream).ok()) return event;
  static_cast<void>(api_.destroy_event(event));
  return nullptr;
}

void Timeline::forget() noexcept {
  for (const auto& [id, s] : spans_)
    for (Event e : {s.start, s.end})
      if (e != nullptr) static_cast<void>(api_.destroy_event(e));
  spans_.clear();
}

void Timeline::record(bool on) {
  const std::lock_guard lock(mutex_);
  forget();
  on_ = on && epoch_ != nullptr;
}

std::shared_ptr<const void> Timeline::span(const char* stream_name, std::string what, Stream stream) {
  const std::lock_guard lock(mutex_);
  if (!on_ || spans_.size() >= kMostSpans) return nullptr;
  const Event start = mark(stream);
  if (start == nullptr) return nullptr;
  const uint64_t id = next_++;
  spans_.emplace(id, Span{stream_name, std::move(what), start, nullptr});
  return {stream_name, [this, id, stream](const void*) { end(id, stream); }};
}

void Timeline::end(uint64_t id, Stream stream) noexcept {
  const std::lock_guard lock(mutex_);
  if (const auto it = spans_.find(id); it != spans_.end()) it->second.end = mark(stream);
}

std::vector<TimelineEntry> Timeline::entries() {
  constexpr double kSecond = 1e3;  // in the milliseconds of elapsed()
  const std::lock_guard lock(mutex_);
  std::vector<TimelineEntry> out;
  for (const auto& [id, s] : spans_) {
    if (s.end == nullptr) continue;
    float start = 0, end = 0;
    check(api_, api_.synchronize_event(s.end), "timeline: waiting for the end of a span");
    check(api_, api_.elapsed(&start, epoch_, s.start), "timeline: reading the start of a span");
    check(api_, api_.elapsed(&end, epoch_, s.end), "timeline: reading the end of a span");
    out.push_back({s.stream_name, s.what, start / kSecond, end / kSecond});
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const TimelineEntry& a, const TimelineEntry& b) { return a.start_s < b.start_s; });
  return out;
}

}  // namespace sage::cuda
