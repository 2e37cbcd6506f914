#include "kernels/cuda/mirrors.h"

#include <algorithm>
#include <cstring>

#include "kernels/cuda/status.h"

namespace sage::cuda {
namespace {

// Whether all rows of `part` are stretches of rows of `whole`.
bool covers(WeightView whole, WeightView part) {
  if (part.rows > 1 && part.ld != whole.ld && whole.rows > 1) return false;
  const auto first = reinterpret_cast<uintptr_t>(whole.data), at = reinterpret_cast<uintptr_t>(part.data);
  if (at < first || (at - first) % sizeof(float) != 0) return false;
  const auto offset = static_cast<int64_t>((at - first) / sizeof(float));
  const int64_t row = whole.rows > 1 ? offset / whole.ld : 0, column = offset - row * whole.ld;
  return row + part.rows <= whole.rows && column + part.cols <= whole.cols && (part.rows <= 1 || whole.rows > 1);
}

}  // namespace

Mirrors::Mirrors(Api& api, DeviceMemory& memory, Stream compute, size_t pinned_bytes)
    : api_(api), memory_(memory), compute_(compute), pinned_bytes_(pinned_bytes) {
  check(api_, api_.create_stream(&transfer_), "making the transfer stream");
}

Mirrors::~Mirrors() {
  // A hold that failed halfway may have left transfers.
  static_cast<void>(api_.synchronize(transfer_));
  for (auto& [id, m] : mirrors_) {
    if (m.sent != nullptr) static_cast<void>(api_.destroy_event(m.sent));
    memory_.give(m.device, compute_);
    memory_.give(m.converted, compute_);
  }
  for (Event e : free_again_)
    if (e != nullptr) static_cast<void>(api_.destroy_event(e));
  for (void* p : pinned_)
    if (p != nullptr) static_cast<void>(api_.release_pinned(p));
  static_cast<void>(api_.destroy_stream(transfer_));
}

std::shared_ptr<const void> Mirrors::hold(WeightView w) {
  if (w.size() == 0 || memory_.owns(w.data)) return nullptr;
  Mirror m;
  m.host = w;
  struct Undo {  // of a mirror that did not come to be
    Mirrors& all;
    Mirror& m;
    bool armed = true;
    ~Undo() {
      if (!armed) return;
      if (m.sent != nullptr) static_cast<void>(all.api_.destroy_event(m.sent));
      all.memory_.give(m.device, all.transfer_);
    }
  } undo{*this, m};
  m.device = static_cast<float*>(memory_.take(static_cast<size_t>(w.size()) * sizeof(float), transfer_, "hold"));
  check(api_, api_.create_event(&m.sent), "hold: making an event");
  {
    const std::lock_guard lock(transfer_mutex_);
    send(w, m.device);
    check(api_, api_.record(m.sent, transfer_), "hold: recording the end of a transfer");
  }
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    id = next_++;
    mirrors_.emplace(id, m);
    undo.armed = false;
  }
  return {w.data, [this, id](const void*) { drop(id); }};
}

void Mirrors::send(WeightView w, float* device) {
  for (size_t b = 0; b < pinned_.size(); ++b)
    if (pinned_[b] == nullptr) {
      check(api_, api_.create_event(&free_again_[b]), "hold: making an event");
      const Status s = api_.allocate_pinned(&pinned_[b], pinned_bytes_);
      if (!s.ok()) {
        static_cast<void>(api_.destroy_event(std::exchange(free_again_[b], nullptr)));
        pinned_[b] = nullptr;
        throw ResourceError(
            "{}: hold: taking {:.1f} MB of pinned host memory failed: {}; expected enough free host memory; close other "
            "programs",
            api_.name(), static_cast<double>(pinned_bytes_) / 1e6, api_.describe(s));
      }
    }
  // Stretches of whole rows; a row that is too long for a buffer goes in pieces.
  const int64_t capacity = static_cast<int64_t>(pinned_bytes_ / sizeof(float));
  const int64_t piece = std::min(w.cols, capacity), rows_at_once = std::max<int64_t>(1, capacity / w.cols);
  size_t b = 0;
  for (int64_t i = 0; i < w.rows; i += rows_at_once)
    for (int64_t j = 0; j < w.cols; j += piece, b = 1 - b) {
      const int64_t rows = std::min(rows_at_once, w.rows - i), cols = std::min(piece, w.cols - j);
      check(api_, api_.synchronize_event(free_again_[b]), "hold: waiting for a pinned buffer");
      auto* buffer = static_cast<float*>(pinned_[b]);
      for (int64_t r = 0; r < rows; ++r)
        std::memcpy(buffer + r * cols, w.row(i + r) + j, static_cast<size_t>(cols) * sizeof(float));
      const int64_t bytes = rows * cols * static_cast<int64_t>(sizeof(float));
      check(api_, api_.copy(device + i * w.cols + j, bytes, buffer, bytes, bytes, 1, Direction::kToDevice, transfer_),
            "hold: copying to the device");
      check(api_, api_.record(free_again_[b], transfer_), "hold: recording the use of a pinned buffer");
    }
}

void Mirrors::make_ready(Mirror& m) {
  if (m.ready) return;
  check(api_, api_.wait(compute_, m.sent), "waiting for a transfer");
  m.ready = true;
}

Mirrors::Mirror* Mirrors::covering(WeightView w) {
  for (auto& [id, m] : mirrors_)
    if (covers(m.host, w)) return &m;
  return nullptr;
}

int64_t Mirrors::offset(const Mirror& m, WeightView part) {
  const auto host = static_cast<int64_t>(part.data - m.host.data);
  const int64_t row = m.host.rows > 1 ? host / m.host.ld : 0, column = host - row * m.host.ld;
  return row * m.host.cols + column;
}

WeightView Mirrors::find(WeightView w) {
  const std::lock_guard lock(mutex_);
  Mirror* m = covering(w);
  if (m == nullptr) return {};
  make_ready(*m);
  return {m->device + offset(*m, w), w.rows, w.cols, m->host.cols};
}

void Mirrors::drop(uint64_t id) noexcept {
  const std::lock_guard lock(mutex_);
  const auto it = mirrors_.find(id);
  if (it == mirrors_.end()) return;
  Mirror& m = it->second;
  // One that nothing ever used may still be on its way.
  if (!m.ready && !api_.wait(compute_, m.sent).ok()) static_cast<void>(api_.synchronize_event(m.sent));
  static_cast<void>(api_.destroy_event(m.sent));
  memory_.give(m.device, compute_);
  memory_.give(m.converted, compute_);
  mirrors_.erase(it);
}

}  // namespace sage::cuda
