#include "strategies/coder/delta8.h"

#include "strategies/coder/bits.h"
#include "strategies/coder/positions.h"

namespace sage {
namespace {
constexpr int64_t kEscape = 255;
}  // namespace

std::vector<std::byte> Delta8Coder::encode_positions(const BitMask& mask) const {
  std::vector<std::byte> out;
  append_row_counts(mask, out);
  for (int64_t i = 0; i < mask.rows(); ++i) {
    int64_t before = -1;
    for_each_set(mask, i, [&](int64_t j) {
      int64_t gap = j - before - 1;
      for (; gap >= kEscape; gap -= kEscape)
        out.push_back(static_cast<std::byte>(kEscape));
      out.push_back(static_cast<std::byte>(gap));
      before = j;
    });
  }
  return out;
}

BitMask Delta8Coder::decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const {
  const std::vector<int64_t> counts = read_row_counts(kName, bytes, rows, cols);
  BitMask mask = checked_mask(kName, rows, cols);
  size_t at = counts.size() * static_cast<size_t>(row_count_bytes(cols));
  for (int64_t i = 0; i < rows; ++i) {
    int64_t j = -1;
    for (int64_t left = counts[static_cast<size_t>(i)]; left > 0;) {
      if (at == bytes.size()) damaged_plane(kName, "its bytes end early", "more gaps");
      const int64_t gap = static_cast<int64_t>(bytes[at++]);
      j += gap;
      if (gap != kEscape) {
        ++j;
        --left;
      }
      if (j >= cols) damaged_plane(kName, fmt::format("column {} in row {}", j, i), fmt::format("columns below {}", cols));
      if (gap != kEscape) mask.set(i, j);
    }
  }
  if (at != bytes.size()) damaged_plane(kName, "bytes after its end", "none");
  return mask;
}

double Delta8Coder::position_bits(const BitMask& mask) const {
  int64_t bytes = row_count_bytes(mask.cols()) * mask.rows();
  for (int64_t i = 0; i < mask.rows(); ++i) {
    int64_t before = -1;
    for_each_set(mask, i, [&](int64_t j) {
      bytes += 1 + (j - before - 1) / kEscape;
      before = j;
    });
  }
  return 8.0 * static_cast<double>(bytes);
}

}  // namespace sage
