#include "core/pipeline/segments.h"

#include <algorithm>
#include <numeric>

namespace sage {
namespace {

// 64 bits starting at bit `first` of a row of words.
uint64_t bits_from(const uint64_t* words, int64_t word_count, int64_t first) {
  const int64_t w = first >> 6, shift = first & 63;
  uint64_t v = words[w] >> shift;
  if (shift != 0 && w + 1 < word_count) v |= words[w + 1] << (64 - shift);
  return v;
}

}  // namespace

ColumnSet::ColumnSet(std::vector<int64_t> ascending) : columns_(std::move(ascending)) {}

ColumnSet ColumnSet::range(int64_t first, int64_t last) {
  std::vector<int64_t> columns(static_cast<size_t>(last - first));
  std::iota(columns.begin(), columns.end(), first);
  return ColumnSet(std::move(columns));
}

int64_t ColumnSet::index_of(int64_t c) const {
  if (contiguous()) return c - first();
  return std::lower_bound(columns_.begin(), columns_.end(), c) - columns_.begin();
}

WeightView ColumnSet::gather(WeightView w, Matrix& storage) const {
  if (contiguous()) return w.columns(first(), first() + size());
  storage = Matrix(w.rows, size());
#pragma omp parallel for schedule(static) if (storage.size() > 1 << 14)
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t k = 0; k < size(); ++k)
      storage(i, k) = w(i, columns_[static_cast<size_t>(k)]);
  return storage.view();
}

void ColumnSet::scatter(WeightView from, View<float> to) const {
#pragma omp parallel for schedule(static) if (from.size() > 1 << 14)
  for (int64_t i = 0; i < from.rows; ++i)
    for (int64_t k = 0; k < size(); ++k)
      to(i, columns_[static_cast<size_t>(k)]) = from(i, k);
}

std::vector<float> ColumnSet::gather(std::span<const float> values) const {
  std::vector<float> out;
  if (values.empty()) return out;
  out.reserve(columns_.size());
  for (const int64_t c : columns_)
    out.push_back(values[static_cast<size_t>(c)]);
  return out;
}

SaliencyMask ColumnSet::gather(const SaliencyMask& mask) const {
  if (size() == mask.cols()) return mask;
  if (mask.shape() == MaskShape::kNone) return SaliencyMask::none(mask.rows(), size());
  const BitMask& from = mask.bits();
  BitMask to(from.rows(), size());
  for (int64_t i = 0; i < from.rows(); ++i) {
    if (contiguous()) {
      for (int64_t w = 0; w < to.words_per_row(); ++w)
        to.row(i)[w] = bits_from(from.row(i), from.words_per_row(), first() + w * 64) & to.valid_bits(w);
    } else {
      for (int64_t k = 0; k < size(); ++k)
        if (from.test(i, columns_[static_cast<size_t>(k)])) to.set(i, k);
    }
  }
  return mask.shape() == MaskShape::kElements ? SaliencyMask::elements(std::move(to)) : SaliencyMask::columns(mask.rows(), std::move(to));
}

void ColumnSet::place(const BitMask& part, BitMask& whole) const {
  for (int64_t i = 0; i < part.rows(); ++i) {
    if (!contiguous()) {
      for (int64_t k = 0; k < size(); ++k)
        if (part.test(i, k)) whole.set(i, columns_[static_cast<size_t>(k)]);
      continue;
    }
    for (int64_t w = 0; w < part.words_per_row(); ++w) {
      const uint64_t bits = part.row(i)[w];
      const int64_t at = first() + w * 64, shift = at & 63;
      whole.row(i)[at >> 6] |= bits << shift;
      if (shift != 0 && (bits >> (64 - shift)) != 0) whole.row(i)[(at >> 6) + 1] |= bits >> (64 - shift);
    }
  }
}

std::vector<ColumnSet> contiguous_segments(int64_t cols, int64_t width) {
  if (width <= 0) width = std::max<int64_t>(cols, 1);
  std::vector<ColumnSet> out;
  for (int64_t first = 0; first < cols; first += width)
    out.push_back(ColumnSet::range(first, std::min(cols, first + width)));
  return out;
}

std::vector<ColumnSet> ordered_segments(std::span<const int64_t> order, int64_t width) {
  const int64_t cols = static_cast<int64_t>(order.size());
  if (width <= 0) width = std::max<int64_t>(cols, 1);
  std::vector<ColumnSet> out;
  for (int64_t first = 0; first < cols; first += width) {
    std::vector<int64_t> columns(order.begin() + first, order.begin() + std::min(cols, first + width));
    std::sort(columns.begin(), columns.end());
    out.emplace_back(std::move(columns));
  }
  return out;
}

std::vector<ColumnSet> segments_of_ids(std::span<const uint8_t> ids, int64_t segments) {
  std::vector<std::vector<int64_t>> columns(static_cast<size_t>(segments));
  for (size_t c = 0; c < ids.size(); ++c)
    columns[ids[c]].push_back(static_cast<int64_t>(c));
  std::vector<ColumnSet> out;
  for (std::vector<int64_t>& c : columns)
    out.emplace_back(std::move(c));
  return out;
}

}  // namespace sage
