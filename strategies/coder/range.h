// Entropy coder for symbols and for positions, near their zeroth-order entropy.
//
// Symbols: static rANS (rans.h) with one frequency table per plane; a plane of one symbol costs 2 bytes, and a plane that would
// not
//   shrink is stored raw. Layout: mode byte (0 constant, 1 rANS, 2 raw), then the symbol; table and pieces; or packed symbols.
// Positions: the run lengths of unset positions between set ones, in row-major order over the whole mask. A run g below 16 is a
//   token of its own, a longer one the token of its three leading bits and its width, with the rest as plain bits. Tokens are
//   rANS coded with a geometric model, which needs no table, or with their own frequencies where that is smaller (set positions
//   that cluster). For independent positions at ratio r this comes to H2(r) per position of the matrix. Layout: mode byte (0
//   empty, 1 geometric, 2 table), number of positions (LEB128), model, byte length of the plain bits (LEB128), plain bits,
//   tokens.
// Source: J. Duda, arXiv:1311.2540 (rANS); run lengths as in Golomb 1966.
// Cost: 2 to 3 ns per symbol and core; pieces are coded in parallel. Decoding is serial inside a piece of 2^18 symbols, so a
// deployed kernel cannot read single rows.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/coder.h"

namespace sage {

class RangeCoder final : public Coder {
 public:
  struct Params {};
  static constexpr auto kName = "range";
  static constexpr auto kDoc = "Entropy coder (interleaved rANS) for symbols and for positions.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"Asymmetric numeral systems", "arXiv:1311.2540", "rANS"};
  static Schema<Params> schema() { return {}; }
  explicit RangeCoder(Params) {}

  bool codes_symbols() const override { return true; }
  bool codes_positions() const override { return true; }
  std::vector<std::byte> encode_symbols(std::span<const uint8_t> symbols, int alphabet) const override;
  void decode_symbols(std::span<const std::byte> bytes, int alphabet, std::span<uint8_t> out) const override;
  bool size_depends_on_symbols() const override { return true; }
  double symbol_bits(const SymbolCount& count) const override;
  std::vector<std::byte> encode_positions(const BitMask& mask) const override;
  BitMask decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const override;
  double position_bits(const BitMask& mask) const override;
};

}  // namespace sage
