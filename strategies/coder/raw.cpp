#include "strategies/coder/raw.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "strategies/coder/bits.h"

namespace sage {
namespace {

constexpr size_t kChunk = size_t{1} << 18;  // symbols per parallel piece, a multiple of 8

// Eight symbols, one per byte, to 8 b bits: neighbours are joined in pairs, then pairs, then quads.
template <int B>
uint64_t join(uint64_t x) {
  constexpr uint64_t k16 = 0x00ff00ff00ff00ffull, k32 = 0x0000ffff0000ffffull, k64 = 0x00000000ffffffffull;
  x = (x & k16) | ((x >> 8) & k16) << B;  // 16-bit lanes of 2b bits, in place
  x = (x & k32) | ((x >> 16) & k32) << (2 * B);
  return (x & k64) | (x >> 32) << (4 * B);
}
template <int B>
uint64_t split(uint64_t x) {
  constexpr uint64_t m4 = B == 8 ? 0xffffffffull : (uint64_t{1} << (4 * B)) - 1;
  constexpr uint64_t m2 = (uint64_t{1} << (2 * B)) - 1, m1 = (uint64_t{1} << B) - 1;
  x = (x & m4) | (x >> (4 * B) & m4) << 32;
  x = (x & (m2 | m2 << 32)) | (x >> (2 * B) & (m2 | m2 << 32)) << 16;
  constexpr uint64_t lanes = m1 | m1 << 16 | m1 << 32 | m1 << 48;
  return (x & lanes) | (x >> B & lanes) << 8;
}

template <int B>
void pack(const uint8_t* symbols, size_t count, std::byte* out) {
  size_t k = 0;
  for (; k + 8 <= count; k += 8, out += B) {
    uint64_t x;
    std::memcpy(&x, symbols + k, 8);
    x = join<B>(x);
    std::memcpy(out, &x, B);
  }
  if (k < count) {
    uint64_t x = 0;
    std::memcpy(&x, symbols + k, count - k);
    x = join<B>(x);
    std::memcpy(out, &x, ((count - k) * B + 7) / 8);
  }
}
template <int B>
void unpack(const std::byte* bytes, uint8_t* out, size_t count) {
  size_t k = 0;
  for (; k + 8 <= count; k += 8, bytes += B) {
    uint64_t x = 0;
    std::memcpy(&x, bytes, B);
    x = split<B>(x);
    std::memcpy(out + k, &x, 8);
  }
  if (k < count) {
    uint64_t x = 0;
    std::memcpy(&x, bytes, ((count - k) * B + 7) / 8);
    x = split<B>(x);
    std::memcpy(out + k, &x, count - k);
  }
}

template <class F>
void with_width(int bits, F f) {
  switch (bits) {
    case 1: f(std::integral_constant<int, 1>{}); break;
    case 2: f(std::integral_constant<int, 2>{}); break;
    case 3: f(std::integral_constant<int, 3>{}); break;
    case 4: f(std::integral_constant<int, 4>{}); break;
    case 5: f(std::integral_constant<int, 5>{}); break;
    case 6: f(std::integral_constant<int, 6>{}); break;
    case 7: f(std::integral_constant<int, 7>{}); break;
    default: f(std::integral_constant<int, 8>{}); break;
  }
}

}  // namespace

size_t packed_bytes(size_t symbols, int bits) {
  return symbols / 8 * static_cast<size_t>(bits) + (symbols % 8 * static_cast<size_t>(bits) + 7) / 8;
}

void pack_symbols(std::span<const uint8_t> symbols, int bits, std::byte* out) {
  if (bits == 0) return;
  const int64_t chunks = static_cast<int64_t>((symbols.size() + kChunk - 1) / kChunk);
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t c = 0; c < chunks; ++c) {
    const size_t first = static_cast<size_t>(c) * kChunk, count = std::min(kChunk, symbols.size() - first);
    with_width(bits, [&](auto b) { pack<b()>(symbols.data() + first, count, out + first / 8 * static_cast<size_t>(bits)); });
  }
}

void unpack_symbols(const std::byte* bytes, int bits, std::span<uint8_t> out) {
  if (bits == 0) {
    std::fill(out.begin(), out.end(), uint8_t{0});
    return;
  }
  const int64_t chunks = static_cast<int64_t>((out.size() + kChunk - 1) / kChunk);
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t c = 0; c < chunks; ++c) {
    const size_t first = static_cast<size_t>(c) * kChunk, count = std::min(kChunk, out.size() - first);
    with_width(bits, [&](auto b) { unpack<b()>(bytes + first / 8 * static_cast<size_t>(bits), out.data() + first, count); });
  }
}

std::vector<std::byte> RawCoder::encode_symbols(std::span<const uint8_t> symbols, int alphabet) const {
  const int bits = bits_for(alphabet);
  std::vector<std::byte> out(packed_bytes(symbols.size(), bits));
  pack_symbols(symbols, bits, out.data());
  return out;
}

void RawCoder::decode_symbols(std::span<const std::byte> bytes, int alphabet, std::span<uint8_t> out) const {
  const int bits = bits_for(alphabet);
  const size_t expected = packed_bytes(out.size(), bits);
  if (bytes.size() != expected)
    damaged_plane(kName, fmt::format("{} bytes for {} symbols of {} bits", bytes.size(), out.size(), bits),
                  fmt::format("{} bytes", expected));
  unpack_symbols(bytes.data(), bits, out);
  if (const int used = static_cast<int>(out.size() % 8) * bits % 8; used != 0 && static_cast<int>(bytes.back()) >> used != 0)
    damaged_plane(kName, "set bits after its end", "zero padding");
  if (alphabet == 1 << bits) return;
  uint8_t largest = 0;
  for (uint8_t s : out)
    largest = s > largest ? s : largest;
  if (largest >= alphabet) damaged_plane(kName, fmt::format("symbol {}", largest), fmt::format("symbols below {}", alphabet));
}

double RawCoder::symbol_bits(const SymbolCount& count) const {
  return 8.0 * static_cast<double>(packed_bytes(static_cast<size_t>(count.count), bits_for(count.alphabet)));
}

}  // namespace sage
