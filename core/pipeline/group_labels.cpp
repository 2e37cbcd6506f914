#include "core/pipeline/group_labels.h"

#include <algorithm>

#include "core/util/errors.h"

namespace sage {

std::vector<uint8_t> label_symbols(const GroupMap& g, const Selection& own) {
  std::vector<uint8_t> out;
  if (g.shape != LabelShape::kElement) {
    // Symbols are bytes, labels are not.
    for (const auto label : g.label) {
      if (static_cast<int64_t>(label) >= std::min<int64_t>(g.groups, 256))
        throw Error(ExitCode::kInternalError, fmt::format("group label {}; expected labels below {}; correct the grouping", label, std::min<int64_t>(g.groups, 256)));
      out.push_back(static_cast<uint8_t>(label));
    }
    return out;
  }
  if (own.all()) return g.element;
  out.resize(static_cast<size_t>(own.count()));
  size_t at = 0;
  for (int64_t i = 0; i < own.rows(); ++i) {
    const uint8_t* row = g.element.data() + i * g.cols;
    for (int64_t w = 0; w < own.mask->words_per_row(); ++w) {
      uint64_t bits = own.word(i, w);
      const int64_t base = w * 64, width = std::min<int64_t>(64, g.cols - base);
      if (bits == (width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1)) {
        std::copy_n(row + base, width, out.data() + at);
        at += static_cast<size_t>(width);
        continue;
      }
      for (; bits != 0; bits &= bits - 1) out[at++] = row[base + __builtin_ctzll(bits)];
    }
  }
  return out;
}

void fill_labels(GroupMap& g, const Selection& own, PlaneReader& reader) {
  const int alphabet = static_cast<int>(g.groups);
  if (g.shape == LabelShape::kElement) {
    const std::span<const uint8_t> symbols = reader.symbols("group_index", own.count(), alphabet);
    g.element.assign(static_cast<size_t>(g.rows * g.cols), 0);
    size_t at = 0;
    for (int64_t i = 0; i < own.rows(); ++i)
      for (int64_t w = 0; w < own.mask->words_per_row(); ++w)
        for (uint64_t bits = own.word(i, w); bits != 0; bits &= bits - 1)
          g.element[static_cast<size_t>(i * g.cols + w * 64 + __builtin_ctzll(bits))] = symbols[at++];
    return;
  }
  int64_t count = 0;
  switch (g.shape) {
    case LabelShape::kRow: count = g.rows; break;
    case LabelShape::kColumn: count = g.cols; break;
    case LabelShape::kRowBlock: count = g.rows * g.blocks_per_row(); break;
    default: break;
  }
  const std::span<const uint8_t> symbols = reader.symbols("group_index", count, alphabet);
  g.label.assign(symbols.begin(), symbols.end());
}

}  // namespace sage
