// Walks the weights a quantizer owns, and says where each one's symbol lies in its plane (row-major order of owned weights).
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "core/tensor/mask.h"

namespace sage {

// Fewer weights than this are not worth waking threads for.
inline constexpr int64_t kParallelWeights = 1 << 14;

// Rank of every owned weight. Cost: one pass over the mask words; memory rows * cols / 16 bytes for element masks, less
// otherwise. The mask the selection points to must outlive the index.
class OwnedIndex {
 public:
  explicit OwnedIndex(const Selection& own);

  const Selection& own() const { return own_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  int64_t total() const { return begin_.back(); }
  int64_t row_begin(int64_t i) const { return begin_[static_cast<size_t>(i)]; }
  int64_t row_count(int64_t i) const { return begin_[static_cast<size_t>(i) + 1] - begin_[static_cast<size_t>(i)]; }
  int64_t rows_with_weights() const;

  // Calls f(j, k) for every owned weight (i, j) with first <= j < last, j ascending; k is its rank.
  template <class F>
  void visit(int64_t i, int64_t first, int64_t last, F&& f) const {
    if (first >= last) return;
    if (own_.all()) {
      int64_t k = row_begin(i) + first;
      for (int64_t j = first; j < last; ++j, ++k)
        f(j, k);
      return;
    }
    const uint32_t* rank = rank_.data() + (shared_ ? 0 : i * words_);
    const int64_t first_word = first >> 6, last_word = (last - 1) >> 6;
    for (int64_t w = first_word; w <= last_word; ++w) {
      const uint64_t owned = own_.word(i, w);
      uint64_t bits = owned;
      int64_t k = row_begin(i) + rank[w];
      if (w == first_word && (first & 63) != 0) {
        const uint64_t below = (uint64_t{1} << (first & 63)) - 1;
        k += std::popcount(owned & below);
        bits &= ~below;
      }
      if (w == last_word && (last & 63) != 0) bits &= (uint64_t{1} << (last & 63)) - 1;
      const int64_t j = w << 6;
      while (bits != 0) {  // run by run: masks are mostly ones or mostly zeros
        const int start = std::countr_zero(bits);
        const uint64_t run = bits >> start;
        const int length = std::countr_one(run);
        for (int64_t t = start; t < start + length; ++t, ++k)
          f(j + t, k);
        bits = start + length == 64 ? 0 : bits & (~uint64_t{0} << (start + length));
      }
    }
  }

 private:
  Selection own_;
  int64_t rows_, cols_, words_;
  bool shared_;                 // every row owns the same columns
  std::vector<uint32_t> rank_;  // owned weights of the row before each word
  std::vector<int64_t> begin_;  // owned weights before each row; rows + 1 entries
};

}  // namespace sage
