// An Api whose calls fail on demand, and which counts what was taken and not given back.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "kernels/cuda/api.h"

namespace sage::test {

// Shared with the test: it outlives the backend that owns the Api.
class Faults {
 public:
  // The n-th call from now (1 = the next) returns `status`; `sticky`: and so do all calls after it. A call that fails does
  // nothing, except those that give something back: a lost device has lost that, too.
  void arm(int64_t n, cuda::Status status, bool sticky);
  // No more than so many bytes of device memory exist: allocations beyond them are refused with code 2.
  void limit_memory(size_t bytes);

  bool fired() const;
  int64_t calls() const;
  int64_t allocations() const;  // successful ones of device memory
  size_t memory() const;        // bytes of device memory that are allocated
  // What is wrong with the use of the Api so far: things given back twice or never taken; with `ended`, things that are still
  // there. Empty if nothing.
  std::string complaints(bool ended) const;

 private:
  friend class FaultyApi;
  enum class Kind { kMemory, kPinned, kStream, kEvent };
  cuda::Status next();  // of a call
  cuda::Status take(Kind kind, void* thing, size_t bytes);
  bool give(Kind kind, void* thing);

  mutable std::mutex mutex_;
  int64_t calls_ = 0, fails_at_ = 0, allocations_ = 0;
  cuda::Status status_;
  bool sticky_ = false, fired_ = false;
  size_t limit_ = SIZE_MAX, memory_ = 0;
  std::map<Kind, std::map<void*, size_t>> live_;
  std::string misuse_;
};

std::unique_ptr<cuda::Api> make_faulty_api(std::unique_ptr<cuda::Api> api, std::shared_ptr<Faults> faults);

}  // namespace sage::test
