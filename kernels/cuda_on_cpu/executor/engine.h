// What the CPU build of a kernel calls: the running thread and block, barriers, warp collectives, shared memory, the grid.
// Kernels see it through the words of CUDA (kernel.h, device_functions.h); tests set `options()`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "kernels/cuda_on_cpu/executor/cuda_types.h"

namespace kx {

// A kernel broke a rule of CUDA that the engine checks. The text names kernel, block, thread, file and line. The block's
// other threads end where they stood; blocks that run at the time finish.
//   divergent barrier         threads of a block wait in __syncthreads at different places
//   exit before a barrier     a thread returned while others of its block wait in __syncthreads
//   divergent collective      lanes named by one mask call different collectives
//   deadlock                  nobody can go on; says who waits where
//   shuffle from absent lane  the source lane is not in the mask or has returned
//   misaligned access         by __ldg, __ldcs, __ldcg or __stcs; a plain load of a vector goes unseen
//   mask without own lane, shuffle width that is no power of two up to 32, no memory for a stack
class KernelFault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// In which order threads start and go on, and blocks start. A correct kernel gives the same in all of them, up to the rounding
// of floating-point atomics.
enum class Order { kForward, kReverse, kRandom };

struct Options {
  int workers = 0;                // OS threads that share the blocks; 0: default_threads(), at most 16. Environment: KX_WORKERS
  Order order = Order::kForward;  // KX_ORDER=forward|reverse|random
  uint64_t seed = 1;              // of the random order: KX_SEED
  bool cross_block_races =
      false;  // ThreadSanitizer build: blocks are unordered too, so races between them show (KX_CROSS_BLOCK=1);
              // not for kernels with static __shared__, which all blocks of an OS thread share here
};
// Read from the environment at the first call; set them between launches. Throws std::invalid_argument on a value it cannot
// read.
Options& options();

// What an OS thread executes now; null outside kernels.
struct ThreadContext {
  uint3 index;
};
struct BlockContext {
  uint3 index;
  dim3 size, grid;
};
extern constinit thread_local const ThreadContext* this_thread;
extern constinit thread_local const BlockContext* this_block;

enum class Vote : uint8_t { kNone, kCount, kAll, kAny };
enum class WarpOp : uint8_t {
  kSync,
  kShuffleIndex,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor,
  kBallot,
  kAny,
  kAll,
  kAdd,
  kMax,
  kMin,
  kAnd,
  kOr,
  kXor,
};

// __syncthreads: returns the vote over the block's predicates (0 for kNone).
int block_barrier(Vote vote, bool predicate, const char* file, int line);
// Values are the low bytes of 64 bits; integers are extended by their sign for kMax and kMin. `argument` is the source lane,
// distance or lane mask of a shuffle, `width` its width.
uint64_t warp_collective(WarpOp op, unsigned mask, uint64_t value, unsigned argument, int width, const char* file, int line);
// Reports an address that devices cannot access.
[[noreturn]] void misaligned_access(size_t alignment, const char* file, int line);
// The running block's dynamic shared memory, exactly as large as launched, every byte 0xff (NaN) at the start.
void* dynamic_shared();

struct Launch {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  void (*entry)(const void* arguments);  // the kernel of one thread
  const void* arguments;
};
// Runs all blocks, on the caller and the other workers. Returns 0, or 9 (cudaErrorInvalidConfiguration) when an extent is zero,
// or over what devices take: 1024 threads, 64 of them in z, 2^31 - 1 by 65535 by 65535 blocks, 99 KB of dynamic shared memory
// (the least of sm_80, 86, 89 and 90). Throws KernelFault. One grid at a time; other callers wait.
int run_grid(const Launch& launch);

}  // namespace kx
