// Segments: the sets of columns that are selected, grouped and fitted together, and the order columns are worked through in.
//
// A matrix of m columns is cut into segments of `width` columns (0 = all of them), contiguous in the stored order of columns. Only
// when columns are worked through in another order *and* segments are fitted on the way (GPTQ's act-order with dynamic groups)
// are segments runs of that order; their members are then kept in ascending order, so that a decoder needs one segment id per
// column and nothing more.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/tensor/mask.h"
#include "core/tensor/view.h"

namespace sage {

class ColumnSet {
 public:
  ColumnSet() = default;
  explicit ColumnSet(std::vector<int64_t> ascending);
  static ColumnSet range(int64_t first, int64_t last);

  int64_t size() const { return static_cast<int64_t>(columns_.size()); }
  int64_t operator[](int64_t k) const { return columns_[static_cast<size_t>(k)]; }
  std::span<const int64_t> columns() const { return columns_; }
  int64_t first() const { return columns_.empty() ? 0 : columns_.front(); }
  bool contiguous() const { return columns_.empty() || columns_.back() - columns_.front() + 1 == size(); }
  // Where column c stands in the set; c must be a member.
  int64_t index_of(int64_t c) const;

  // The columns of w: w's own memory when contiguous, else a copy in `storage`.
  WeightView gather(WeightView w, Matrix& storage) const;
  void scatter(WeightView from, View<float> to) const;
  std::vector<float> gather(std::span<const float> values) const;
  // The same columns of a mask, and a mask of these columns written into one of all columns.
  SaliencyMask gather(const SaliencyMask& mask) const;
  void place(const BitMask& part, BitMask& whole) const;

 private:
  std::vector<int64_t> columns_;
};

// Runs of `width` columns of 0 .. cols-1 (the last may be shorter); one set of all columns for width 0.
std::vector<ColumnSet> contiguous_segments(int64_t cols, int64_t width);
// Runs of `width` entries of a permutation of the columns, each sorted.
std::vector<ColumnSet> ordered_segments(std::span<const int64_t> order, int64_t width);
// The inverse of segment ids: set s holds the columns with id s. Ids are below `segments`.
std::vector<ColumnSet> segments_of_ids(std::span<const uint8_t> ids, int64_t segments);

}  // namespace sage
