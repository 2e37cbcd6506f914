// Coders: how an index or a code plane is written as bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/strategy/planes.h"
#include "core/strategy/quantizer.h"
#include "core/tensor/mask.h"

namespace sage {

class Coder {
 public:
  virtual ~Coder() = default;
  virtual bool codes_symbols() const { return false; }
  virtual bool codes_positions() const { return false; }

  // A sequence of symbols 0 .. alphabet-1. The count and alphabet are known to the decoder.
  virtual std::vector<std::byte> encode_symbols(std::span<const uint8_t> symbols, int alphabet) const;
  // Throws ResourceError naming what is wrong with corrupt bytes; never reads outside `bytes`, never writes outside `out`.
  virtual void decode_symbols(std::span<const std::byte> bytes, int alphabet, std::span<uint8_t> out) const;
  // Expected size in bits, without coding. size_depends_on_symbols: it needs the histogram, not the number alone.
  virtual bool size_depends_on_symbols() const { return false; }
  virtual double symbol_bits(const SymbolCount& count) const;

  // A set of positions in a rows x cols matrix.
  virtual std::vector<std::byte> encode_positions(const BitMask& mask) const;
  virtual BitMask decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const;
  virtual double position_bits(const BitMask& mask) const;  // exact or expected size
};

}  // namespace sage
