#include "strategies/coder/positions.h"

#include "strategies/coder/bits.h"

namespace sage {

BitMask checked_mask(const char* coder, int64_t rows, int64_t cols) {
  constexpr int64_t kMostPositions = int64_t{1} << 33;
  if (rows < 0 || cols < 0 || (cols > 0 && rows > kMostPositions / cols))
    damaged_plane(coder, fmt::format("a mask of {} x {}", rows, cols), "at most 2^33 positions");
  return BitMask(rows, cols);
}

int row_count_bytes(int64_t cols) { return cols < 1 << 16 ? 2 : 4; }

void append_row_counts(const BitMask& mask, std::vector<std::byte>& out) {
  for (int64_t i = 0; i < mask.rows(); ++i) {
    if (row_count_bytes(mask.cols()) == 2)
      append_little_endian(out, static_cast<uint16_t>(mask.count_row(i)));
    else
      append_little_endian(out, static_cast<uint32_t>(mask.count_row(i)));
  }
}

std::vector<int64_t> read_row_counts(const char* coder, std::span<const std::byte> bytes, int64_t rows, int64_t cols) {
  const size_t width = static_cast<size_t>(row_count_bytes(cols));
  if (rows < 0 || bytes.size() / width < static_cast<size_t>(rows))
    damaged_plane(coder, fmt::format("{} bytes for the counts of {} rows", bytes.size(), rows),
                  fmt::format("{} bytes for each row", width));
  std::vector<int64_t> counts(static_cast<size_t>(rows));
  for (size_t i = 0; i < counts.size(); ++i) {
    const std::byte* p = bytes.data() + i * width;
    counts[i] = width == 2 ? read_little_endian<uint16_t>(p) : read_little_endian<uint32_t>(p);
    if (counts[i] > cols)
      damaged_plane(coder, fmt::format("row {} has {} positions", i, counts[i]), fmt::format("at most {}", cols));
  }
  return counts;
}

}  // namespace sage
