// Memory of large arrays: on huge pages where the system has them, and kept for the next array when freed.
//
// The first touch of a page costs a fault and the zeroing of it, more than several passes over its contents, and quantizing a
// matrix touches a dozen bytes of fresh memory per weight. Blocks of kLargeBlockBytes and more are therefore aligned to 2 MiB, the
// kernel is asked for huge pages (madvise; transparent huge pages in mode `madvise` or `always`, no effect elsewhere), and up to
// kKeptBytes of freed blocks wait for a request of about their size. The program's operator new does the same, so that large
// vectors gain without knowing of it; under the sanitizers theirs is left in place.
#pragma once

#include <cstddef>

namespace sage {

inline constexpr size_t kLargeBlockBytes = size_t{4} << 20;
inline constexpr size_t kKeptBytes = size_t{768} << 20;

// Uninitialised memory, at least 64-byte aligned; std::bad_alloc when there is none. Any thread.
void* allocate_block(size_t bytes);
void free_block(void* block) noexcept;

}  // namespace sage
