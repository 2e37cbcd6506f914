// Symbols as they are: ceil(log2 alphabet) bits each, least significant bit first, no header, zero padding to a whole byte.
// Eight symbols of b bits fill b bytes, so decoding can start at any multiple of eight. Cost: near memory speed.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/coder.h"

namespace sage {

class RawCoder final : public Coder {
 public:
  struct Params {};
  static constexpr auto kName = "raw";
  static constexpr auto kDoc = "Symbols in ceil(log2 alphabet) bits each.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit RawCoder(Params) {}

  bool codes_symbols() const override { return true; }
  std::vector<std::byte> encode_symbols(std::span<const uint8_t> symbols, int alphabet) const override;
  void decode_symbols(std::span<const std::byte> bytes, int alphabet, std::span<uint8_t> out) const override;
  double symbol_bits(const SymbolCount& count) const override;
};

// The packing itself, for coders that fall back to it. bits <= 8.
size_t packed_bytes(size_t symbols, int bits);
void pack_symbols(std::span<const uint8_t> symbols, int bits, std::byte* out);
void unpack_symbols(const std::byte* bytes, int bits, std::span<uint8_t> out);

}  // namespace sage
