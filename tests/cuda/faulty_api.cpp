#include "tests/cuda/faulty_api.h"

#include <fmt/format.h>

#include <utility>

namespace sage::test {

using cuda::Api;
using cuda::Direction;
using cuda::Event;
using cuda::Status;
using cuda::Stream;

void Faults::arm(int64_t n, Status status, bool sticky) {
  const std::lock_guard lock(mutex_);
  fails_at_ = calls_ + n;
  status_ = status;
  sticky_ = sticky;
  fired_ = false;
}

void Faults::limit_memory(size_t bytes) {
  const std::lock_guard lock(mutex_);
  limit_ = bytes;
}

bool Faults::fired() const {
  const std::lock_guard lock(mutex_);
  return fired_;
}
int64_t Faults::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}
int64_t Faults::allocations() const {
  const std::lock_guard lock(mutex_);
  return allocations_;
}
size_t Faults::memory() const {
  const std::lock_guard lock(mutex_);
  return memory_;
}

std::string Faults::complaints(bool ended) const {
  const std::lock_guard lock(mutex_);
  constexpr const char* kNames[] = {"blocks of device memory", "blocks of pinned memory", "streams", "events"};
  std::string out = misuse_;
  if (ended)
    for (const auto& [kind, things] : live_)
      if (!things.empty()) out += fmt::format("{} {} left; ", things.size(), kNames[static_cast<int>(kind)]);
  return out;
}

Status Faults::next() {
  const std::lock_guard lock(mutex_);
  ++calls_;
  if (fails_at_ == 0 || calls_ < fails_at_ || (!sticky_ && calls_ > fails_at_)) return {};
  fired_ = true;
  return status_;
}

Status Faults::take(Kind kind, void* thing, size_t bytes) {
  const std::lock_guard lock(mutex_);
  live_[kind].emplace(thing, bytes);
  if (kind == Kind::kMemory) {
    memory_ += bytes;
    ++allocations_;
  }
  return {};
}

bool Faults::give(Kind kind, void* thing) {
  const std::lock_guard lock(mutex_);
  auto& things = live_[kind];
  const auto it = things.find(thing);
  if (it == things.end()) {
    misuse_ += fmt::format("kind {} at {} given back, but not there; ", static_cast<int>(kind), thing);
    return false;
  }
  if (kind == Kind::kMemory) memory_ -= it->second;
  things.erase(it);
  return true;
}

class FaultyApi final : public Api {
 public:
  FaultyApi(std::unique_ptr<Api> api, std::shared_ptr<Faults> faults) : api_(std::move(api)), faults_(std::move(faults)) {}
  std::string name() const override { return api_->name(); }
  std::string describe(Status s) const override { return api_->describe(s); }

  Status device_count(int* count) override {
    return run([&] { return api_->device_count(count); });
  }
  Status device_info(int device, cuda::DeviceInfo* info) override {
    return run([&] { return api_->device_info(device, info); });
  }
  Status set_device(int device) override {
    return run([&] { return api_->set_device(device); });
  }
  Status memory_info(uint64_t* free_bytes, uint64_t* total_bytes) override {
    return run([&] { return api_->memory_info(free_bytes, total_bytes); });
  }

  Status allocate(void** memory, size_t bytes) override {
    return run([&]() -> Status {
      {
        const std::lock_guard lock(faults_->mutex_);
        if (bytes > faults_->limit_ || faults_->memory_ > faults_->limit_ - bytes) return {kOutOfMemory};
      }
      return taken(Faults::Kind::kMemory, memory, bytes, api_->allocate(memory, bytes));
    });
  }
  Status release(void* memory) override {
    return give(Faults::Kind::kMemory, memory, [&] { return api_->release(memory); });
  }
  Status allocate_pinned(void** host, size_t bytes) override {
    return run([&] { return taken(Faults::Kind::kPinned, host, bytes, api_->allocate_pinned(host, bytes)); });
  }
  Status release_pinned(void* host) override {
    return give(Faults::Kind::kPinned, host, [&] { return api_->release_pinned(host); });
  }

  Status copy(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t width_bytes, int64_t rows,
              Direction direction, Stream stream) override {
    return run([&] { return api_->copy(to, to_pitch, from, from_pitch, width_bytes, rows, direction, stream); });
  }
  Status fill(void* memory, int byte, size_t bytes, Stream stream) override {
    return run([&] { return api_->fill(memory, byte, bytes, stream); });
  }

  Status create_stream(Stream* stream) override {
    return run([&] { return taken(Faults::Kind::kStream, stream, 0, api_->create_stream(stream)); });
  }
  Status destroy_stream(Stream stream) override {
    return give(Faults::Kind::kStream, stream, [&] { return api_->destroy_stream(stream); });
  }
  Status synchronize(Stream stream) override {
    return run([&] { return api_->synchronize(stream); });
  }
  Status create_event(Event* event) override {
    return run([&] { return taken(Faults::Kind::kEvent, event, 0, api_->create_event(event)); });
  }
  Status destroy_event(Event event) override {
    return give(Faults::Kind::kEvent, event, [&] { return api_->destroy_event(event); });
  }
  Status record(Event event, Stream stream) override {
    return run([&] { return api_->record(event, stream); });
  }
  Status wait(Stream stream, Event event) override {
    return run([&] { return api_->wait(stream, event); });
  }
  Status synchronize_event(Event event) override {
    return run([&] { return api_->synchronize_event(event); });
  }
  Status elapsed(float* milliseconds, Event from, Event to) override {
    return run([&] { return api_->elapsed(milliseconds, from, to); });
  }

  Status launched(int code) override {
    return run([&] { return api_->launched(code); });
  }
  Status gemm(const cuda::GemmCall& call, Stream stream) override {
    return run([&] { return api_->gemm(call, stream); });
  }
  Status syrk(const cuda::SyrkCall& call, Stream stream) override {
    return run([&] { return api_->syrk(call, stream); });
  }

 private:
  template <class F>
  Status run(const F& call) {
    const Status s = faults_->next();
    return s.ok() ? call() : s;
  }
  Status taken(Faults::Kind kind, void** thing, size_t bytes, Status s) {
    return s.ok() ? faults_->take(kind, *thing, bytes) : s;
  }
  template <class F>
  Status give(Faults::Kind kind, void* thing, const F& call) {
    const Status s = faults_->next();
    if (!faults_->give(kind, thing)) return {1};
    const Status done = call();
    return s.ok() ? done : s;
  }

  const std::unique_ptr<Api> api_;
  const std::shared_ptr<Faults> faults_;
};

std::unique_ptr<Api> make_faulty_api(std::unique_ptr<Api> api, std::shared_ptr<Faults> faults) {
  return std::make_unique<FaultyApi>(std::move(api), std::move(faults));
}

}  // namespace sage::test
