// Random ownership masks and group labels of every shape.
#pragma once

#include <vector>

#include "tests/kernels/support.h"

namespace sage::test {

inline BitMask random_bits(int64_t rows, int64_t cols, double share, uint64_t stream) {
  BitMask bits(rows, cols);
  Rng rng(seed(), stream);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      if (rng.uniform() < share) bits.set(i, j);
  return bits;
}

inline GroupMap random_labels(LabelShape shape, int64_t rows, int64_t cols, int64_t groups, int64_t block, uint64_t stream) {
  GroupMap g = GroupMap::single(rows, cols);
  g.shape = shape;
  g.groups = groups;
  g.block = block;
  Rng rng(seed(), stream);
  const auto draw = [&] { return rng.below(static_cast<uint64_t>(groups)); };
  const int64_t labels = shape == LabelShape::kRow        ? rows
                         : shape == LabelShape::kColumn   ? cols
                         : shape == LabelShape::kRowBlock ? rows * g.blocks_per_row()
                                                          : 0;
  for (int64_t l = 0; l < labels; ++l)
    g.label.push_back(static_cast<uint32_t>(draw()));
  if (shape == LabelShape::kElement)
    for (int64_t l = 0; l < rows * cols; ++l)
      g.element.push_back(static_cast<uint8_t>(draw()));
  return g;
}

// Masks of every shape; the caller tests both selections of each.
inline std::vector<SaliencyMask> masks(const Shape& s) {
  std::vector<SaliencyMask> out;
  out.push_back(SaliencyMask::none(s.rows, s.cols));
  out.push_back(SaliencyMask::columns(s.rows, random_bits(1, s.cols, 0.1, 71)));
  out.push_back(SaliencyMask::elements(random_bits(s.rows, s.cols, 0.02, 72)));
  out.push_back(SaliencyMask::elements(random_bits(s.rows, s.cols, 0.6, 73)));
  return out;
}

inline std::vector<GroupMap> group_maps(const Shape& s) {
  std::vector<GroupMap> out = {GroupMap::single(s.rows, s.cols)};
  for (LabelShape shape : {LabelShape::kRow, LabelShape::kColumn, LabelShape::kRowBlock, LabelShape::kElement})
    for (int64_t groups : {1, 5, 256})
      out.push_back(random_labels(shape, s.rows, s.cols, groups,
                                  groups == 5   ? 33
                                  : groups == 1 ? 128
                                                : 3,
                                  static_cast<uint64_t>(74 + out.size())));
  return out;
}

}  // namespace sage::test
