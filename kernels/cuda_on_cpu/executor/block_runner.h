// Runs one block after another on one OS thread: its CUDA threads are fibers, started in order and only when no other can go
// on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels/cuda_on_cpu/executor/engine.h"
#include "kernels/cuda_on_cpu/executor/fiber.h"

namespace kx {

constexpr unsigned kMaxThreads = 1024;

struct alignas(64) CudaThread : ThreadContext {  // what a barrier touches comes first, to share a cache line
  enum class State : uint8_t { kNew, kReady, kAtBarrier, kAtWarp, kDone } state = State::kNew;
  Vote vote = Vote::kNone;
  uint8_t barrier_phase = 0, warp_phase = 0;
  int line = 0;  // where it waits
  const char* file = nullptr;
  Fiber* fiber = nullptr;
  int barrier_result = 0;
  WarpOp op = WarpOp::kSync;
  unsigned lane = 0, warp = 0;
  unsigned mask = 0, argument = 0;
  int width = 0;
  uint64_t value = 0, result = 0;
  void* tsan = nullptr;  // TSan's fiber that stands for it
};

class BlockRunner {
 public:
  BlockRunner();
  ~BlockRunner();
  // A grid's blocks run between these two. `launch` must outlive them.
  void begin_grid(const Launch& launch);
  void end_grid();
  // Runs block number `block`, x fastest. Returns the fault's text, empty without one.
  const std::string& run_block(uint64_t block);

  // For the thread that is running.
  int barrier(Vote vote, bool predicate, const char* file, int line);
  uint64_t collective(WarpOp op, unsigned mask, uint64_t value, unsigned argument, int width, const char* file, int line);
  [[noreturn]] void misaligned(size_t alignment, const char* file, int line);
  void* shared() { return shared_.get(); }

  static BlockRunner& current();

 private:
  struct Warp {
    unsigned live, waiting;  // a bit per lane
  };

  // Scheduling (block_runner.cpp).
  static void fiber_main();
  void start_order();
  uint64_t random();
  void push(CudaThread& t);
  CudaThread* pick();  // the next thread that can go on, or a new one; null when there is none
  bool add_fiber();
  bool give_stack(CudaThread& t);
  CudaThread& running();
  void wait();                   // the running thread cannot go on: others do, until it can
  void leave();                  // the running thread has returned from the kernel
  std::string deadlock() const;  // who waits where
  [[noreturn]] void abandon();   // ends the block after a fault; fibers are not unwound, so callers hold nothing that needs it
  void release_fibers();
#ifdef KX_TSAN
  // TSan tells at most 255 threads apart that are alive at a time, and forgets accesses when there are more. Threads of larger
  // blocks share its fibers, drawn by lot for each block: what two of them do to each other goes unseen in that one.
  static constexpr unsigned kMostTsanFibers = 128;
  void share_tsan_fibers();
  void destroy_tsan_fibers(unsigned first);  // tsan_fibers_[first], ...
#endif

  // Collectives (collectives.cpp).
  void release_barrier();
  bool try_release_warp(unsigned warp, unsigned mask, const CudaThread& last);
  bool shuffle_source(const CudaThread& t, unsigned live, unsigned* source);

  const Launch* launch_ = nullptr;
  BlockContext context_{};
  unsigned count_ = 0;  // threads of the block
  std::unique_ptr<CudaThread[]> threads_;
  // Arrays, not containers: ThreadSanitizer must not see the engine's accesses, and an inline member function of a container
  // that some instrumented file uses too may be linked from there.
  unsigned order_[kMaxThreads];     // in which threads start
  CudaThread* ready_[kMaxThreads];  // ring of those that can go on
  unsigned head_ = 0, ready_count_ = 0, next_ = 0, done_ = 0;
  Warp warps_[kMaxThreads / 32];
  unsigned at_barrier_ = 0, votes_ = 0;
  CudaThread* barrier_first_ = nullptr;  // first to arrive, and
  CudaThread* barrier_other_ = nullptr;  // one that arrived somewhere else
  std::string fault_;
  uint64_t random_state_ = 0;

#ifdef KX_TSAN
  void* tsan_fibers_[kMostTsanFibers] = {};
#endif

  Fiber main_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> free_;
  std::vector<Fiber*> retired_;  // not to be used again in this grid: unordered blocks on one stack would seem to race
  std::unique_ptr<char[]> shared_;
  std::vector<std::unique_ptr<char[]>> retired_shared_;
  char barrier_tokens_[2], warp_tokens_[kMaxThreads / 32][2], start_token_,
      end_token_;  // addresses for order_acquire, _release
};

// "thread (1,0,0)" and "file:12", for fault reports.
std::string name_of(const CudaThread& t);
std::string place_of(const CudaThread& t);

}  // namespace kx
