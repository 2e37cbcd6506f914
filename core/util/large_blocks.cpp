#include "core/util/large_blocks.h"

#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SAGE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SAGE_SANITIZED 1
#endif
#endif

namespace sage {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Freed blocks, oldest first. A plain array: this runs inside operator new and must not allocate.
class KeptBlocks {
 public:
  // A kept block of at least `bytes` that wastes at most an eighth of itself; the tightest one.
  void* take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    size_t best = count_;
    for (size_t i = 0; i < count_; ++i)
      if (blocks_[i].bytes >= bytes && blocks_[i].bytes - bytes <= blocks_[i].bytes / 8 &&
          (best == count_ || blocks_[i].bytes < blocks_[best].bytes))
        best = i;
    if (best == count_) return nullptr;
    void* p = blocks_[best].data;
    remove(best);
    return p;
  }
  // Takes the block over, or frees it when it is larger than what may be kept.
  void keep(void* p, size_t bytes) noexcept {
    if (bytes > kKeptBytes) return std::free(p);
    const std::lock_guard<std::mutex> lock(mutex_);
    while (count_ == blocks_.size() || total_ + bytes > kKeptBytes) {
      std::free(blocks_[0].data);
      remove(0);
    }
    blocks_[count_++] = {p, bytes};
    total_ += bytes;
  }
  // Frees everything; true if there was anything.
  bool release() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (count_ == 0) return false;
    for (size_t i = 0; i < count_; ++i) std::free(blocks_[i].data);
    count_ = 0;
    total_ = 0;
    return true;
  }

 private:
  struct Block {
    void* data;
    size_t bytes;
  };
  void remove(size_t i) {
    total_ -= blocks_[i].bytes;
    std::move(blocks_.begin() + static_cast<std::ptrdiff_t>(i) + 1, blocks_.begin() + static_cast<std::ptrdiff_t>(count_),
              blocks_.begin() + static_cast<std::ptrdiff_t>(i));
    --count_;
  }

  std::mutex mutex_;
  std::array<Block, 64> blocks_{};
  size_t count_ = 0;
  size_t total_ = 0;
};
constinit KeptBlocks kept;

void* large_block(size_t bytes) {
  if (bytes > SIZE_MAX - kHugePage) return nullptr;
  const size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  if (void* p = kept.take(rounded)) return p;
  void* p = std::aligned_alloc(kHugePage, rounded);
  if (p == nullptr && kept.release()) p = std::aligned_alloc(kHugePage, rounded);
  if (p != nullptr) (void)madvise(p, rounded, MADV_HUGEPAGE);  // a refusal costs speed only
  return p;
}

#ifdef SAGE_SANITIZED
// Every block by itself and no larger than asked for, so that the sanitizers see what happens to it.
constexpr size_t kFirstLarge = SIZE_MAX;
#else
constexpr size_t kFirstLarge = kLargeBlockBytes;
#endif

bool is_large(void* block) {
  return block != nullptr && reinterpret_cast<uintptr_t>(block) % kHugePage == 0 && malloc_usable_size(block) >= kFirstLarge;
}

}  // namespace

void* allocate_block(size_t bytes) {
  void* p = bytes >= kFirstLarge ? large_block(bytes) : std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

void free_block(void* block) noexcept {
  if (is_large(block))
    kept.keep(block, malloc_usable_size(block));
  else
    std::free(block);
}

}  // namespace sage

#ifndef SAGE_SANITIZED
void* operator new(size_t bytes) {
  for (;;) {
    if (void* p = bytes >= sage::kLargeBlockBytes ? sage::large_block(bytes) : std::malloc(bytes > 0 ? bytes : 1)) return p;
    const std::new_handler handler = std::get_new_handler();
    if (handler == nullptr) throw std::bad_alloc();
    handler();
  }
}
void operator delete(void* p) noexcept { sage::free_block(p); }
void operator delete(void* p, size_t) noexcept { sage::free_block(p); }
#endif
