// Links: sage_strategies
// Arbitrary bytes through every coder. Each input either raises ResourceError or decodes to something legal, and what was
// decoded must survive being coded again.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

#include "core/util/errors.h"
#include "strategies/coder/bitmap.h"
#include "strategies/coder/csr.h"
#include "strategies/coder/delta8.h"
#include "strategies/coder/range.h"
#include "strategies/coder/raw.h"

namespace {

std::vector<std::unique_ptr<sage::Coder>> make_coders() {
  std::vector<std::unique_ptr<sage::Coder>> out;
  out.push_back(std::make_unique<sage::RawCoder>(sage::RawCoder::Params{}));
  out.push_back(std::make_unique<sage::BitmapCoder>(sage::BitmapCoder::Params{}));
  out.push_back(std::make_unique<sage::CsrCoder>(sage::CsrCoder::Params{}));
  out.push_back(std::make_unique<sage::Delta8Coder>(sage::Delta8Coder::Params{}));
  out.push_back(std::make_unique<sage::RangeCoder>(sage::RangeCoder::Params{}));
  return out;
}

void check(bool fine) {
  if (!fine) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<std::unique_ptr<sage::Coder>> coders = make_coders();
  if (size < 5) return 0;
  const sage::Coder& coder = *coders[data[0] % coders.size()];
  const int alphabet = 1 + data[1];
  const int64_t rows = data[2] % 64, cols = data[3] + 256 * (data[4] % 4);
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data + 5), size - 5);
  if (coder.codes_symbols()) {
    std::vector<uint8_t> symbols(static_cast<size_t>(rows * cols));
    bool legal = true;
    try {
      coder.decode_symbols(bytes, alphabet, symbols);
    } catch (const sage::ResourceError&) {
      legal = false;
    }
    if (legal) {
      for (uint8_t s : symbols)
        check(s < alphabet);
      std::vector<uint8_t> again(symbols.size());
      coder.decode_symbols(coder.encode_symbols(symbols, alphabet), alphabet, again);
      check(again == symbols);
    }
  }
  if (coder.codes_positions()) {
    std::optional<sage::BitMask> mask;
    try {
      mask = coder.decode_positions(bytes, rows, cols);
    } catch (const sage::ResourceError&) {
    }
    if (mask) check(coder.decode_positions(coder.encode_positions(*mask), rows, cols) == *mask);
  }
  return 0;
}
