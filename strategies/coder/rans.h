// Static range asymmetric numeral systems (Duda, arXiv:1311.2540), 64-bit states, 32-bit words, frequencies of 14 bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "strategies/coder/bits.h"

namespace sage {

inline constexpr int kFrequencyBits = 14;
inline constexpr uint32_t kFrequencyTotal = 1u << kFrequencyBits;

// How often each symbol is expected, out of kFrequencyTotal. Symbols of frequency 0 cannot be coded.
struct FrequencyTable {
  std::array<uint16_t, 256> frequency{};  // sums to kFrequencyTotal
  int symbols = 0;                        // entries in use, <= 256
};

// Frequencies closest to the counts, at least 1 for what occurs. At least one count must be positive.
FrequencyTable frequencies_of(std::span<const int64_t> counts);
// sum of counts * -log2(frequency / total): bits of the coded symbols, without states.
double coded_bits(std::span<const int64_t> counts, const FrequencyTable& table);

// The table as Elias gamma codes of frequency + 1.
void write_frequencies(BitWriter& out, const FrequencyTable& table);
int64_t frequency_bits(const FrequencyTable& table);
FrequencyTable read_frequencies(BitReader& in, int symbols, const char* coder);

// Symbols in pieces of kRansChunk that are coded in parallel; each piece has 1 (short pieces) or 4 interleaved states. Layout:
// byte length of every piece but the last (U32), then the pieces. 8 to 32 bytes of states and 4 of length for each piece.
inline constexpr size_t kRansChunk = size_t{1} << 18;
std::vector<std::byte> rans_encode(std::span<const uint8_t> symbols, const FrequencyTable& table);
// `bytes` must be used up exactly, and every state must come back to where the encoder began.
void rans_decode(std::span<const std::byte> bytes, const FrequencyTable& table, std::span<uint8_t> out, const char* coder);
// Expected size of rans_encode, given coded_bits of the whole.
double rans_size_bits(int64_t symbols, double coded);

}  // namespace sage
