#include "core/tensor/mask.h"

#include <bit>
#include <utility>

namespace sage {

int64_t BitMask::count() const {
  int64_t n = 0;
  for (uint64_t w : words_) n += std::popcount(w);
  return n;
}

int64_t BitMask::count_row(int64_t i) const {
  int64_t n = 0;
  for (int64_t w = 0; w < words_per_row_; ++w) n += std::popcount(row(i)[w]);
  return n;
}

SaliencyMask::SaliencyMask(MaskShape shape, int64_t rows, BitMask bits)
    : shape_(shape), rows_(rows), cols_(bits.cols()), bits_(std::move(bits)) {}

SaliencyMask SaliencyMask::none(int64_t rows, int64_t cols) { return {MaskShape::kNone, rows, BitMask(1, cols)}; }
SaliencyMask SaliencyMask::columns(int64_t rows, BitMask flags) { return {MaskShape::kColumns, rows, std::move(flags)}; }
SaliencyMask SaliencyMask::elements(BitMask bits) {
  const int64_t rows = bits.rows();
  return {MaskShape::kElements, rows, std::move(bits)};
}

int64_t SaliencyMask::count() const { return shape_ == MaskShape::kColumns ? bits_.count() * rows_ : bits_.count(); }

}  // namespace sage
