// Positions as one bit each, row-major without padding between rows: rows * cols bits, rounded up to a whole byte.
// The right choice when more than about an eighth of the positions is set; otherwise csr, delta8 or range are smaller.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/coder.h"

namespace sage {

class BitmapCoder final : public Coder {
 public:
  struct Params {};
  static constexpr auto kName = "bitmap";
  static constexpr auto kDoc = "Positions as one bit each.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit BitmapCoder(Params) {}

  bool codes_positions() const override { return true; }
  std::vector<std::byte> encode_positions(const BitMask& mask) const override;
  BitMask decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const override;
  double position_bits(const BitMask& mask) const override;
};

}  // namespace sage
