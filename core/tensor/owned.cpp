#include "core/tensor/owned.h"

namespace sage {

OwnedIndex::OwnedIndex(const Selection& own)
    : own_(own),
      rows_(own.rows()),
      cols_(own.cols()),
      words_(own.mask->words_per_row()),
      shared_(own.mask->shape() != MaskShape::kElements),
      begin_(static_cast<size_t>(own.rows()) + 1, 0) {
  if (own_.all()) {
    for (int64_t i = 0; i < rows_; ++i)
      begin_[static_cast<size_t>(i) + 1] = (i + 1) * cols_;
    return;
  }
  const int64_t ranked = shared_ ? (rows_ > 0 ? 1 : 0) : rows_;
  rank_.resize(static_cast<size_t>(ranked * words_));
  std::vector<int64_t> count(static_cast<size_t>(ranked));
#pragma omp parallel for schedule(static) if (ranked * words_ > 1 << 15)
  for (int64_t i = 0; i < ranked; ++i) {
    uint32_t n = 0;
    for (int64_t w = 0; w < words_; ++w) {
      rank_[static_cast<size_t>(i * words_ + w)] = n;
      n += static_cast<uint32_t>(std::popcount(own_.word(i, w)));
    }
    count[static_cast<size_t>(i)] = n;
  }
  for (int64_t i = 0; i < rows_; ++i)
    begin_[static_cast<size_t>(i) + 1] = begin_[static_cast<size_t>(i)] + count[static_cast<size_t>(shared_ ? 0 : i)];
}

int64_t OwnedIndex::rows_with_weights() const {
  int64_t n = 0;
  for (int64_t i = 0; i < rows_; ++i)
    n += row_count(i) > 0 ? 1 : 0;
  return n;
}

}  // namespace sage
