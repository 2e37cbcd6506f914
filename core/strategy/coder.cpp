#include "core/strategy/coder.h"

#include "core/util/errors.h"

// The engine checks codes_symbols() / codes_positions() while planning, so reaching these is a bug of the engine.
namespace sage {
namespace {
[[noreturn]] void not_offered(const char* what) {
  throw Error(ExitCode::kInternalError, std::string("coder: ") + what + " was asked of a coder that does not offer it");
}
}  // namespace

std::vector<std::byte> Coder::encode_symbols(std::span<const uint8_t>, int) const { not_offered("encode_symbols"); }
void Coder::decode_symbols(std::span<const std::byte>, int, std::span<uint8_t>) const { not_offered("decode_symbols"); }
double Coder::symbol_bits(const SymbolCount&) const { not_offered("symbol_bits"); }
std::vector<std::byte> Coder::encode_positions(const BitMask&) const { not_offered("encode_positions"); }
BitMask Coder::decode_positions(std::span<const std::byte>, int64_t, int64_t) const { not_offered("decode_positions"); }
double Coder::position_bits(const BitMask&) const { not_offered("position_bits"); }

}  // namespace sage
