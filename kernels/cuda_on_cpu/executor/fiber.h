// Contexts that one OS thread switches between: assembly on x86-64, ucontext elsewhere (KX_UCONTEXT forces it). The sanitizers
// are told of every switch.
#pragma once

#include <cstddef>
#include <memory>

#if !defined(__x86_64__) || defined(KX_UCONTEXT)
#include <ucontext.h>
#define KX_USE_UCONTEXT 1
#endif

#if defined(__SANITIZE_ADDRESS__)
#define KX_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KX_ASAN 1
#endif
#endif

#ifdef KX_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace kx {

// Happens-before edges for ThreadSanitizer, which sees none of the engine's own: this code is compiled without it (KX_TSAN), so
// that only accesses of kernels count, each made by a TSan fiber that stands for one CUDA thread.
#ifdef KX_TSAN
inline void order_acquire(void* token) { __tsan_acquire(token); }
inline void order_release(void* token) { __tsan_release(token); }
#else
inline void order_acquire(void*) {}
inline void order_release(void*) {}
#endif

class Fiber {
 public:
  Fiber() = default;  // for the context of the OS thread itself, which has its stack already
  // A fiber with a stack and a guard page below it; null when the system refuses the memory. Stacks of different `colour` start
  // at different offsets: equal ones would fight for the same sets of the first-level cache.
  static std::unique_ptr<Fiber> with_stack(unsigned colour);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The next switch to this fiber calls `entry`, which must never return, on an empty stack.
  void restart(void (*entry)());
  // Leaves `from`, which is running, for `to`. Returns when something switches back; `last` says that nothing ever will.
  static void switch_to(Fiber& from, Fiber& to, bool last);
  // First statement of an entry. `starter` is the OS thread's own context, from where the first of its fibers is entered.
  static void entered(Fiber& starter);

  void* tsan = nullptr;  // TSan's fiber behind this one

 private:
#ifdef KX_USE_UCONTEXT
  ucontext_t context_;
#else
  void* stack_pointer_ = nullptr;
#endif
  unsigned colour_ = 0;
  char* mapping_ = nullptr;
  const void* stack_bottom_ = nullptr;
  size_t stack_bytes_ = 0;
  void* fake_stack_ = nullptr;  // ASan's
};

}  // namespace kx
