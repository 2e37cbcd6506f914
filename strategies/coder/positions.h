// Walking and rebuilding sets of positions, shared by the position coders.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor/mask.h"

namespace sage {

// Calls f(j) for every set column of row i, ascending.
template <class F>
void for_each_set(const BitMask& mask, int64_t i, F&& f) {
  const uint64_t* words = mask.row(i);
  for (int64_t w = 0; w < mask.words_per_row(); ++w)
    for (uint64_t bits = words[w]; bits != 0; bits &= bits - 1)
      f((w << 6) + std::countr_zero(bits));
}

// An empty mask, if rows x cols is a size a matrix can have; ResourceError otherwise.
BitMask checked_mask(const char* coder, int64_t rows, int64_t cols);

// Set positions of each row as U16 (cols < 2^16) or U32, little-endian: the index of csr and delta8.
int row_count_bytes(int64_t cols);
void append_row_counts(const BitMask& mask, std::vector<std::byte>& out);
// Reads them from the front of `bytes`; no count exceeds cols.
std::vector<int64_t> read_row_counts(const char* coder, std::span<const std::byte> bytes, int64_t rows, int64_t cols);

}  // namespace sage
