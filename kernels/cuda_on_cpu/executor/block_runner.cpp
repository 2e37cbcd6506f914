#include "kernels/cuda_on_cpu/executor/block_runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace kx {

constinit thread_local const ThreadContext* this_thread = nullptr;
constinit thread_local const BlockContext* this_block = nullptr;

namespace {
constinit thread_local BlockRunner* current_runner = nullptr;
constinit thread_local CudaThread* running_thread = nullptr;

void set_running(CudaThread* t) {
  running_thread = t;
  this_thread = t;
}
}  // namespace

std::string name_of(const CudaThread& t) { return fmt::format("thread ({},{},{})", t.index.x, t.index.y, t.index.z); }
std::string place_of(const CudaThread& t) { return fmt::format("{}:{}", t.file, t.line); }

void misaligned_access(size_t alignment, const char* file, int line) {
  BlockRunner::current().misaligned(alignment, file, line);
}

void* dynamic_shared() { return BlockRunner::current().shared(); }

BlockRunner& BlockRunner::current() { return *current_runner; }
CudaThread& BlockRunner::running() { return *running_thread; }

BlockRunner::BlockRunner() : threads_(std::make_unique<CudaThread[]>(kMaxThreads)) {}

BlockRunner::~BlockRunner() {
#ifdef KX_TSAN
  destroy_tsan_fibers(0);
#endif
}

void BlockRunner::begin_grid(const Launch& launch) {
  launch_ = &launch;
  context_.size = launch.block;
  context_.grid = launch.grid;
  count_ = launch.block.x * launch.block.y * launch.block.z;
  for (unsigned i = 0; i < count_; ++i) {
    CudaThread& t = threads_[i];
    t.index = {i % launch.block.x, i / launch.block.x % launch.block.y, i / (launch.block.x * launch.block.y)};
    t.lane = i % 32;
    t.warp = i / 32;
  }
  current_runner = this;
  this_block = &context_;
#ifdef KX_TSAN
  main_.tsan = __tsan_get_current_fiber();
  destroy_tsan_fibers(count_);  // idle ones take TSan's time, too
#endif
}

void BlockRunner::end_grid() {
  order_acquire(&end_token_);
  free_.insert(free_.end(), retired_.begin(), retired_.end());
  retired_.clear();
  retired_shared_.clear();
  shared_.reset();
  this_block = nullptr;
  current_runner = nullptr;
}

uint64_t BlockRunner::random() {  // splitmix64
  uint64_t z = random_state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void BlockRunner::start_order() {
  const Order order = options().order;
  for (unsigned i = 0; i < count_; ++i)
    order_[i] = order == Order::kReverse ? count_ - 1 - i : i;
  if (order == Order::kRandom)
    for (unsigned i = count_; i > 1; --i)
      std::swap(order_[i - 1], order_[random() % i]);
}

const std::string& BlockRunner::run_block(uint64_t block) {
  const uint64_t gx = launch_->grid.x, gy = launch_->grid.y;
  context_.index = {static_cast<unsigned>(block % gx), static_cast<unsigned>(block / gx % gy),
                    static_cast<unsigned>(block / (gx * gy))};
  random_state_ = options().seed + block * 0x2545f4914f6cdd1du;  // of the block alone: the same with any number of workers
  if (options().cross_block_races && shared_ != nullptr) retired_shared_.push_back(std::move(shared_));
  if (shared_ == nullptr) shared_.reset(new char[launch_->shared_bytes]);
  std::memset(shared_.get(), 0xff, launch_->shared_bytes);
  head_ = ready_count_ = next_ = done_ = at_barrier_ = votes_ = 0;
  barrier_first_ = barrier_other_ = nullptr;
  fault_.clear();
  for (unsigned i = 0; i < count_; ++i) {
    threads_[i].state = CudaThread::State::kNew;
    threads_[i].barrier_phase = threads_[i].warp_phase = 0;
  }
  for (unsigned i = 0; i < (count_ + 31) / 32; ++i)
    warps_[i] = {count_ - i * 32 >= 32 ? 0xffffffffu : (1u << (count_ - i * 32)) - 1, 0};
  start_order();
#ifdef KX_TSAN
  while (free_.size() < count_)  // not by threads on their way out: what comes after their last release would seem to race
    if (!add_fiber()) return fault_;
#endif
  order_release(&start_token_);
#ifdef KX_TSAN
  // All from here: TSan orders a fiber's creator before it, and threads of a block must not be ordered by who started whom.
  for (unsigned i = 0; i < std::min(count_, kMostTsanFibers); ++i)
    if (tsan_fibers_[i] == nullptr) tsan_fibers_[i] = __tsan_create_fiber(0);
  share_tsan_fibers();
#endif
  if (CudaThread* first = pick()) {
    set_running(first);
    Fiber::switch_to(main_, *first->fiber, false);
  }
  set_running(nullptr);
  release_fibers();
  return fault_;
}

void BlockRunner::release_fibers() {
  const bool unordered = options().cross_block_races;
#ifdef KX_TSAN
  if (!fault_.empty())  // abandoned threads released nothing: done in their name
    for (unsigned i = 0; i < count_; ++i) {
      __tsan_switch_to_fiber(threads_[i].tsan, __tsan_switch_to_fiber_no_sync);
      order_release(&end_token_);
      __tsan_switch_to_fiber(main_.tsan, __tsan_switch_to_fiber_no_sync);
    }
#endif
  if (!unordered || !fault_.empty()) order_acquire(&end_token_);
  for (unsigned i = 0; i < count_; ++i) {
    CudaThread& t = threads_[i];
    if (t.fiber != nullptr) (unordered ? retired_ : free_).push_back(std::exchange(t.fiber, nullptr));
  }
#ifdef KX_TSAN
  // Blocks that are ordered may share TSan's fibers, which take long to make. Abandoned ones never left what they had called.
  if (unordered || !fault_.empty()) destroy_tsan_fibers(0);
#endif
}

#ifdef KX_TSAN
void BlockRunner::share_tsan_fibers() {
  unsigned shuffled[kMaxThreads];
  for (unsigned i = 0; i < count_; ++i)
    shuffled[i] = i;
  if (count_ > kMostTsanFibers)
    for (unsigned i = count_; i > 1; --i)
      std::swap(shuffled[i - 1], shuffled[random() % i]);
  for (unsigned i = 0; i < count_; ++i)
    threads_[shuffled[i]].tsan = tsan_fibers_[i % kMostTsanFibers];
}

void BlockRunner::destroy_tsan_fibers(unsigned first) {
  for (unsigned i = first; i < kMostTsanFibers; ++i)
    if (tsan_fibers_[i] != nullptr) __tsan_destroy_fiber(std::exchange(tsan_fibers_[i], nullptr));
}
#endif

bool BlockRunner::add_fiber() {
  std::unique_ptr<Fiber> fiber = Fiber::with_stack(static_cast<unsigned>(fibers_.size()));
  if (fiber == nullptr) {
    fault_ = fmt::format("no memory for stack {} of this worker; have fewer threads in a block, or fewer workers (KX_WORKERS)",
                         fibers_.size() + 1);
    return false;
  }
  free_.push_back(fiber.get());
  fibers_.push_back(std::move(fiber));
  return true;
}

bool BlockRunner::give_stack(CudaThread& t) {
  if (free_.empty() && !add_fiber()) return false;
  t.fiber = free_.back();
  free_.pop_back();
  t.fiber->tsan = t.tsan;
  t.fiber->restart(fiber_main);
  return true;
}

void BlockRunner::push(CudaThread& t) {
  t.state = CudaThread::State::kReady;
  ready_[(head_ + ready_count_++) % kMaxThreads] = &t;
}

CudaThread* BlockRunner::pick() {
  if (ready_count_ > 0) {
    if (options().order == Order::kRandom) std::swap(ready_[head_], ready_[(head_ + random() % ready_count_) % kMaxThreads]);
    CudaThread* t = ready_[head_];
    head_ = (head_ + 1) % kMaxThreads;
    --ready_count_;
    return t;
  }
  if (next_ == count_) return nullptr;
  CudaThread& t = threads_[order_[next_++]];
  return give_stack(t) ? &t : nullptr;
}

void BlockRunner::abandon() {
  order_release(&end_token_);
  Fiber::switch_to(*running().fiber, main_, true);
  std::abort();  // nothing switches back
}

std::string BlockRunner::deadlock() const {
  std::string waiting;
  int shown = 0;
  for (unsigned i = 0; i < count_ && shown < 4; ++i) {
    const CudaThread& t = threads_[i];
    if (t.state == CudaThread::State::kAtBarrier)
      waiting += fmt::format("{} waits in __syncthreads at {}; ", name_of(t), place_of(t));
    else if (t.state == CudaThread::State::kAtWarp)
      waiting += fmt::format("{} waits in a warp collective with mask {:#010x} at {}; ", name_of(t), t.mask, place_of(t));
    else
      continue;
    ++shown;
  }
  return fmt::format("deadlock: {}{} of {} threads have returned; let every thread that a barrier or a mask includes reach it",
                     waiting, done_, count_);
}

void BlockRunner::misaligned(size_t alignment, const char* file, int line) {
  running().file = file;
  running().line = line;
  fault_ = fmt::format("misaligned access: {} at {}; expected an address that is a multiple of {}", name_of(running()),
                       place_of(running()), alignment);
  abandon();
}

void BlockRunner::wait() {
  CudaThread& me = running();
  if (CudaThread* t = pick()) {
    if (t == &me) return;
    set_running(t);
    Fiber::switch_to(*me.fiber, *t->fiber, false);
    return;
  }
  if (fault_.empty()) fault_ = deadlock();
  abandon();
}

void BlockRunner::leave() {
  CudaThread& me = running();
  me.state = CudaThread::State::kDone;
  ++done_;
  if (at_barrier_ > 0) {
    fault_ = fmt::format(
        "exit before a barrier: {} returned while {} threads wait in __syncthreads at {}; let all threads of a block reach it",
        name_of(me), at_barrier_, place_of(*barrier_first_));
    abandon();
  }
  Warp& warp = warps_[me.warp];
  warp.live &= ~(1u << me.lane);
  for (unsigned rest = warp.waiting; rest != 0;
       rest &= rest - 1) {  // those that wait for all lanes still there may have them now
    const CudaThread& t = threads_[me.warp * 32 + static_cast<unsigned>(__builtin_ctz(rest))];
    if (try_release_warp(me.warp, t.mask, t)) break;
  }
#ifndef KX_TSAN
  if (ready_count_ == 0 && next_ < count_) {  // the next one takes this stack: a kernel that never waits costs no switch
    CudaThread& t = threads_[order_[next_++]];
    t.fiber = std::exchange(me.fiber, nullptr);
    set_running(&t);
    return;
  }
#endif
  if (CudaThread* t = pick()) {
    set_running(t);
    Fiber::switch_to(*me.fiber, *t->fiber, true);
  } else if (done_ == count_) {
    Fiber::switch_to(*me.fiber, main_, true);
  }
  wait();  // reports why nobody can go on
}

void BlockRunner::fiber_main() {
  BlockRunner& runner = current();
  Fiber::entered(runner.main_);
  for (;;) {
    order_acquire(&runner.start_token_);
    runner.launch_->entry(runner.launch_->arguments);
    order_release(&runner.end_token_);
    runner.leave();
  }
}

}  // namespace kx
