#include "strategies/coder/csr.h"

#include "strategies/coder/bits.h"
#include "strategies/coder/positions.h"

namespace sage {

std::vector<std::byte> CsrCoder::encode_positions(const BitMask& mask) const {
  std::vector<std::byte> out;
  append_row_counts(mask, out);
  BitWriter indices(static_cast<size_t>(mask.count()) * 2);
  const int width = bits_for(mask.cols());
  for (int64_t i = 0; i < mask.rows(); ++i)
    for_each_set(mask, i, [&](int64_t j) { indices.put(static_cast<uint64_t>(j), width); });
  const std::vector<std::byte> tail = indices.finish();
  out.insert(out.end(), tail.begin(), tail.end());
  return out;
}

BitMask CsrCoder::decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const {
  const std::vector<int64_t> counts = read_row_counts(kName, bytes, rows, cols);
  BitMask mask = checked_mask(kName, rows, cols);
  const std::span<const std::byte> tail = bytes.subspan(counts.size() * static_cast<size_t>(row_count_bytes(cols)));
  BitReader in(tail, kName);
  const int width = bits_for(cols);
  for (int64_t i = 0; i < rows; ++i) {
    int64_t before = -1;
    for (int64_t k = 0; k < counts[static_cast<size_t>(i)]; ++k) {
      const int64_t j = static_cast<int64_t>(in.get(width));
      if (j <= before || j >= cols)
        damaged_plane(kName, fmt::format("column {} after {} in row {}", j, before, i),
                      fmt::format("ascending columns below {}", cols));
      mask.set(i, j);
      before = j;
    }
  }
  if (in.finish() != tail.size()) damaged_plane(kName, "bytes after its end", "none");
  return mask;
}

double CsrCoder::position_bits(const BitMask& mask) const {
  return 8.0 * static_cast<double>(row_count_bytes(mask.cols()) * mask.rows() + (mask.count() * bits_for(mask.cols()) + 7) / 8);
}

}  // namespace sage
