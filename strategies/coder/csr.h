// Positions as row lists: the number of positions of each row (U16, or U32 for 2^16 columns and more), then every column index
// in ceil(log2 cols) bits. Size per weight at ratio r: r ceil(log2 n) + 16 / n bits (n = cols). Rows can be decoded apart.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/coder.h"

namespace sage {

class CsrCoder final : public Coder {
 public:
  struct Params {};
  static constexpr auto kName = "csr";
  static constexpr auto kDoc = "Positions as a count per row and a column index each.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit CsrCoder(Params) {}

  bool codes_positions() const override { return true; }
  std::vector<std::byte> encode_positions(const BitMask& mask) const override;
  BitMask decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const override;
  double position_bits(const BitMask& mask) const override;
};

}  // namespace sage
