// Positions as row-wise gaps in bytes: the number of positions of each row (U16, or U32 for 2^16 columns and more), then for
// every position the number of unset columns skipped since the last one; a byte 255 skips 255 columns and sets none. Size per
// weight at ratio r: about 8 r (1 + (1-r)^255) + 16 / n bits (n = cols).
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/coder.h"

namespace sage {

class Delta8Coder final : public Coder {
 public:
  struct Params {};
  static constexpr auto kName = "delta8";
  static constexpr auto kDoc = "Positions as a count per row and byte gaps with an escape.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit Delta8Coder(Params) {}

  bool codes_positions() const override { return true; }
  std::vector<std::byte> encode_positions(const BitMask& mask) const override;
  BitMask decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const override;
  double position_bits(const BitMask& mask) const override;
};

}  // namespace sage
