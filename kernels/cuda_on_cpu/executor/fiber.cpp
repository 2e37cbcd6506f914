#include "kernels/cuda_on_cpu/executor/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>

#ifdef KX_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifndef KX_USE_UCONTEXT
// Saves what a call must preserve, swaps stacks, restores. The floating-point control words are the same for all fibers.
extern "C" void kx_switch_stacks(void** save, void* to);
asm(".text\n"
    ".p2align 4\n"
    ".globl kx_switch_stacks\n"
    ".hidden kx_switch_stacks\n"
    ".type kx_switch_stacks,@function\n"
    "kx_switch_stacks:\n"
    "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp,(%rdi)\n"
    "  mov %rsi,%rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
    "  ret\n"
    ".size kx_switch_stacks,.-kx_switch_stacks\n");
#endif

namespace kx {
namespace {

constexpr size_t kGuardBytes = 4096;
#ifdef KX_ASAN
constexpr size_t kStackBytes = 256 << 10;  // redzones
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

}  // namespace

std::unique_ptr<Fiber> Fiber::with_stack(unsigned colour) {
  void* mapping =
      mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  if (mprotect(mapping, kGuardBytes, PROT_NONE) != 0) {
    munmap(mapping, kGuardBytes + kStackBytes);
    return nullptr;
  }
  auto fiber = std::make_unique<Fiber>();
  fiber->colour_ = colour;
  fiber->mapping_ = static_cast<char*>(mapping);
  fiber->stack_bottom_ = fiber->mapping_ + kGuardBytes;
  fiber->stack_bytes_ = kStackBytes;
  return fiber;
}

Fiber::~Fiber() {
  if (mapping_ != nullptr) munmap(mapping_, kGuardBytes + kStackBytes);
}

void Fiber::restart(void (*entry)()) {
  char* bottom = mapping_ + kGuardBytes;
  fake_stack_ = nullptr;
#ifdef KX_ASAN
  __asan_unpoison_memory_region(bottom, kStackBytes);  // what ran here before may have ended without unwinding
#endif
#ifdef KX_USE_UCONTEXT
  getcontext(&context_);
  context_.uc_stack.ss_sp = bottom;
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#else
  char* top = bottom + kStackBytes - 64 - (colour_ % 61) * 64;
  void** sp = reinterpret_cast<void**>(top);
  *--sp = nullptr;  // in place of a return address: the entry finds the stack aligned as a called function does
  *--sp = reinterpret_cast<void*>(entry);
  sp -= 6;  // the six saved registers
  std::memset(sp, 0, 6 * sizeof(void*));
  stack_pointer_ = sp;
#endif
}

void Fiber::switch_to(Fiber& from, Fiber& to, [[maybe_unused]] bool last) {
#ifdef KX_ASAN
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack_, to.stack_bottom_, to.stack_bytes_);
#endif
#ifdef KX_TSAN
  __tsan_switch_to_fiber(to.tsan, __tsan_switch_to_fiber_no_sync);
#endif
#ifdef KX_USE_UCONTEXT
  swapcontext(&from.context_, &to.context_);
#else
  kx_switch_stacks(&from.stack_pointer_, to.stack_pointer_);
#endif
#ifdef KX_ASAN
  __sanitizer_finish_switch_fiber(from.fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::entered([[maybe_unused]] Fiber& starter) {
#ifdef KX_ASAN
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  if (starter.stack_bottom_ == nullptr) {
    starter.stack_bottom_ = bottom;
    starter.stack_bytes_ = bytes;
  }
#endif
}

}  // namespace kx
