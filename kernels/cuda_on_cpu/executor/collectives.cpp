// When the threads that a barrier or a warp collective waits for are there, what each of them gets, and what is wrong
// otherwise.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cuda_on_cpu/executor/block_runner.h"

namespace kx {
namespace {

bool elsewhere(const CudaThread& a, const CudaThread& b) {
  return a.line != b.line || (a.file != b.file && std::strcmp(a.file, b.file) != 0);
}

}  // namespace

int block_barrier(Vote vote, bool predicate, const char* file, int line) {
  return BlockRunner::current().barrier(vote, predicate, file, line);
}

uint64_t warp_collective(WarpOp op, unsigned mask, uint64_t value, unsigned argument, int width, const char* file, int line) {
  return BlockRunner::current().collective(op, mask, value, argument, width, file, line);
}

int BlockRunner::barrier(Vote vote, bool predicate, const char* file, int line) {
  CudaThread& me = running();
  me.file = file;
  me.line = line;
  me.vote = vote;
  if (done_ > 0) {
    fault_ = fmt::format(
        "exit before a barrier: {} threads had returned when {} reached __syncthreads at {}; let all threads of a block reach "
        "it",
        done_, name_of(me), place_of(me));
    abandon();
  }
  // Two tokens in turn: a thread that runs ahead to the next barrier must not be ordered before those still leaving this one.
  char* token = &barrier_tokens_[me.barrier_phase++ & 1];
  order_release(token);
  me.state = CudaThread::State::kAtBarrier;
  votes_ += predicate ? 1 : 0;
  if (barrier_first_ == nullptr)
    barrier_first_ = &me;
  else if (elsewhere(*barrier_first_, me) || vote != barrier_first_->vote)
    barrier_other_ = &me;
  if (++at_barrier_ == count_) release_barrier();
  wait();
  order_acquire(token);
  return me.barrier_result;
}

void BlockRunner::release_barrier() {
  if (barrier_other_ != nullptr) {
    fault_ = fmt::format(
        "divergent barrier: {} waits in __syncthreads at {}, {} at {}; let all threads of a block meet in the same one",
        name_of(*barrier_first_), place_of(*barrier_first_), name_of(*barrier_other_), place_of(*barrier_other_));
    abandon();
  }
  int result = 0;
  switch (barrier_first_->vote) {
    case Vote::kNone: break;
    case Vote::kCount: result = static_cast<int>(votes_); break;
    case Vote::kAll: result = votes_ == count_; break;
    case Vote::kAny: result = votes_ > 0; break;
  }
  at_barrier_ = votes_ = 0;
  barrier_first_ = nullptr;
  for (unsigned i = 0; i < count_; ++i) {
    CudaThread& t = threads_[order_[i]];
    t.barrier_result = result;
    push(t);
  }
}

uint64_t BlockRunner::collective(WarpOp op, unsigned mask, uint64_t value, unsigned argument, int width, const char* file,
                                 int line) {
  CudaThread& me = running();
  me.file = file;
  me.line = line;
  me.op = op;
  me.mask = mask;
  me.value = value;
  me.argument = argument;
  me.width = width;
  if ((mask >> me.lane & 1) == 0) {
    fault_ = fmt::format(
        "mask without own lane: {}, lane {}, calls a warp collective with mask {:#010x} at {}; name every lane that calls it",
        name_of(me), me.lane, mask, place_of(me));
    abandon();
  }
  if (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width))) {
    fault_ = fmt::format("shuffle width: {} calls a shuffle of width {} at {}; expected 1, 2, 4, 8, 16 or 32", name_of(me),
                         width, place_of(me));
    abandon();
  }
  me.state = CudaThread::State::kAtWarp;
  char* token = nullptr;  // of the warp collectives, only __syncwarp orders memory
  if (op == WarpOp::kSync) {
    token = &warp_tokens_[me.warp][me.warp_phase++ & 1];
    order_release(token);
  }
  warps_[me.warp].waiting |= 1u << me.lane;
  try_release_warp(me.warp, mask, me);
  wait();
  if (token != nullptr) order_acquire(token);
  return me.result;
}

// The lane that t's shuffle reads; false when it is not among `live`. A distance counts by its low five bits, as in hardware.
bool BlockRunner::shuffle_source(const CudaThread& t, unsigned live, unsigned* source) {
  const unsigned width = static_cast<unsigned>(t.width), first = t.lane & ~(width - 1), end = first + width;
  const unsigned distance = t.argument & 31u;
  *source = t.lane;
  switch (t.op) {
    case WarpOp::kShuffleIndex: *source = first | (t.argument & (width - 1)); break;
    case WarpOp::kShuffleUp:
      if (t.lane >= first + distance) *source = t.lane - distance;
      break;
    case WarpOp::kShuffleDown:
      if (t.lane + distance < end) *source = t.lane + distance;
      break;
    case WarpOp::kShuffleXor:
      if ((t.lane ^ distance) < end) *source = t.lane ^ distance;
      break;
    default: break;
  }
  return (live >> *source & 1) != 0;
}

// Lets the lanes of `mask` go on when all of them that have not returned wait with this mask. `last` is one of them.
bool BlockRunner::try_release_warp(unsigned warp, unsigned mask, const CudaThread& last) {
  const unsigned live = mask & warps_[warp].live;
  if ((live & ~warps_[warp].waiting) != 0) return false;
  CudaThread* lanes = &threads_[warp * 32];
  for (unsigned i = 0; i < 32; ++i) {
    if ((live >> i & 1) == 0) continue;
    if (lanes[i].mask != mask) return false;
    if (lanes[i].op != last.op || elsewhere(lanes[i], last)) {
      fault_ = fmt::format(
          "divergent collective: {} waits in a warp collective with mask {:#010x} at {}, {} at {}; let all lanes of a mask "
          "call the same one",
          name_of(last), mask, place_of(last), name_of(lanes[i]), place_of(lanes[i]));
      abandon();
    }
  }
  unsigned ballot = 0;
  uint64_t sum = 0, all = ~uint64_t{0}, any = 0, odd = 0;
  int64_t largest = INT64_MIN, least = INT64_MAX;
  for (unsigned i = 0; i < 32; ++i) {
    if ((live >> i & 1) == 0) continue;
    const uint64_t v = lanes[i].value;
    if (v != 0) ballot |= 1u << i;
    sum += v;
    all &= v;
    any |= v;
    odd ^= v;
    largest = std::max(largest, static_cast<int64_t>(v));
    least = std::min(least, static_cast<int64_t>(v));
  }
  for (unsigned i = 0; i < 32; ++i) {
    if ((live >> i & 1) == 0) continue;
    CudaThread& t = lanes[i];
    switch (t.op) {
      case WarpOp::kSync: break;
      case WarpOp::kBallot: t.result = ballot; break;
      case WarpOp::kAny: t.result = ballot != 0; break;
      case WarpOp::kAll: t.result = ballot == live; break;
      case WarpOp::kAdd: t.result = sum; break;
      case WarpOp::kMax: t.result = static_cast<uint64_t>(largest); break;
      case WarpOp::kMin: t.result = static_cast<uint64_t>(least); break;
      case WarpOp::kAnd: t.result = all; break;
      case WarpOp::kOr: t.result = any; break;
      case WarpOp::kXor: t.result = odd; break;
      case WarpOp::kShuffleIndex:
      case WarpOp::kShuffleUp:
      case WarpOp::kShuffleDown:
      case WarpOp::kShuffleXor: {
        unsigned source = 0;
        if (!shuffle_source(t, live, &source)) {
          fault_ = fmt::format(
              "shuffle from absent lane: {} reads lane {} with mask {:#010x} at {}; name the lanes that are read, and keep "
              "them there",
              name_of(t), source, mask, place_of(t));
          abandon();
        }
        t.result = lanes[source].value;
        break;
      }
    }
  }
  warps_[warp].waiting &= ~live;
  const bool reverse = options().order == Order::kReverse;
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned lane = reverse ? 31 - i : i;
    if ((live >> lane & 1) != 0) push(lanes[lane]);
  }
  return true;
}

}  // namespace kx
