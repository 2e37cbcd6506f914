#include "strategies/coder/bitmap.h"

#include <algorithm>

#include "strategies/coder/bits.h"
#include "strategies/coder/positions.h"

namespace sage {
namespace {
size_t bitmap_bytes(int64_t rows, int64_t cols) { return (static_cast<size_t>(rows) * static_cast<size_t>(cols) + 7) / 8; }
}  // namespace

std::vector<std::byte> BitmapCoder::encode_positions(const BitMask& mask) const {
  BitWriter out(bitmap_bytes(mask.rows(), mask.cols()));
  for (int64_t i = 0; i < mask.rows(); ++i)
    for (int64_t w = 0; w < mask.words_per_row(); ++w) {
      const int bits = static_cast<int>(std::min<int64_t>(64, mask.cols() - w * 64)), low = std::min(bits, 32);
      const uint64_t word = mask.row(i)[w];
      out.put(word & 0xffffffffu, low);
      if (bits > low) out.put(word >> 32, bits - low);
    }
  return out.finish();
}

BitMask BitmapCoder::decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const {
  if (rows < 0 || cols < 0 || (cols > 0 && rows > (int64_t{1} << 40) / cols) || bytes.size() != bitmap_bytes(rows, cols))
    damaged_plane(kName, fmt::format("{} bytes for {} x {} positions", bytes.size(), rows, cols), "one bit for each");
  BitMask mask = checked_mask(kName, rows, cols);
  BitReader in(bytes, kName);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t w = 0; w < mask.words_per_row(); ++w) {
      const int bits = static_cast<int>(std::min<int64_t>(64, cols - w * 64)), low = std::min(bits, 32);
      mask.row(i)[w] = in.get(low);
      if (bits > low) mask.row(i)[w] |= in.get(bits - low) << 32;
    }
  in.finish();
  return mask;
}

double BitmapCoder::position_bits(const BitMask& mask) const {
  return 8.0 * static_cast<double>(bitmap_bytes(mask.rows(), mask.cols()));
}

}  // namespace sage
