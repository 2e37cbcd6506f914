#include "strategies/coder/rans.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sage {
namespace {

constexpr uint64_t kLow = uint64_t{1} << 31;  // states stay in [2^31, 2^63)
constexpr size_t kShortPiece = 8192;          // below it one state: three more would cost 24 bytes

size_t states_of(size_t symbols) { return symbols < kShortPiece ? 1 : 4; }

// x -> (x / f) * 2^14 + x % f + start, with the division as a multiplication (Alverson 1991; exact for x < 2^63).
struct Encoding {
  uint64_t limit = 0, reciprocal = 0;
  uint32_t bias = 0, complement = 0;
  int shift = 0;

  Encoding() = default;
  Encoding(uint32_t start, uint32_t f) {
    limit = ((kLow >> kFrequencyBits) << 32) * f;
    complement = kFrequencyTotal - f;
    if (f < 2) {
      reciprocal = ~uint64_t{0};
      bias = start + kFrequencyTotal - 1;
      return;
    }
    int s = 0;
    while (f > (uint32_t{1} << s))
      ++s;
    const uint64_t high = uint64_t{1} << (s + 31);
    const uint64_t low = (f - 1 + ((high % f) << 32)) / f;
    reciprocal = low + ((high / f) << 32);
    shift = s - 1;
    bias = start;
  }
  uint64_t apply(uint64_t x) const {
    const uint64_t q = static_cast<uint64_t>((static_cast<unsigned __int128>(x) * reciprocal) >> 64) >> shift;
    return x + bias + q * complement;
  }
};

std::vector<uint32_t> encode_piece(std::span<const uint8_t> symbols, const std::array<Encoding, 256>& encoding) {
  const size_t states = states_of(symbols.size());
  uint64_t x[4] = {kLow, kLow, kLow, kLow};
  std::vector<uint32_t> words;  // last word first
  words.reserve(symbols.size() / 8 + 16);
  for (size_t k = symbols.size(); k-- > 0;) {
    const Encoding& e = encoding[symbols[k]];
    uint64_t& s = x[k & (states - 1)];
    if (s >= e.limit) {
      words.push_back(static_cast<uint32_t>(s));
      s >>= 32;
    }
    s = e.apply(s);
  }
  for (size_t l = states; l-- > 0;) {
    words.push_back(static_cast<uint32_t>(x[l] >> 32));
    words.push_back(static_cast<uint32_t>(x[l]));
  }
  std::reverse(words.begin(), words.end());
  return words;
}

struct Decoding {
  std::array<uint8_t, kFrequencyTotal> symbol;  // of every slot
  std::array<uint32_t, 256> frequency_start;    // frequency << 16 | first slot

  explicit Decoding(const FrequencyTable& table) {
    uint32_t start = 0;
    frequency_start.fill(0);
    for (int s = 0; s < table.symbols; ++s) {
      const uint32_t f = table.frequency[static_cast<size_t>(s)];
      frequency_start[static_cast<size_t>(s)] = f << 16 | start;
      std::fill_n(symbol.begin() + start, f, static_cast<uint8_t>(s));
      start += f;
    }
  }
};

// False if the bytes are not those of `out.size()` symbols.
bool decode_piece(std::span<const std::byte> bytes, const Decoding& decoding, std::span<uint8_t> out) {
  const size_t states = states_of(out.size());
  if (bytes.size() % 4 != 0 || bytes.size() < 8 * states) return false;
  const std::byte* at = bytes.data();
  const std::byte* const end = at + bytes.size();
  uint64_t x[4] = {kLow, kLow, kLow, kLow};
  for (size_t l = 0; l < states; ++l, at += 8) {
    x[l] = read_little_endian<uint64_t>(at);
    if (x[l] < kLow || x[l] >> 63 != 0) return false;
  }
  bool enough = true;
  const auto step = [&](uint64_t& s, uint8_t& to) {
    const uint32_t slot = static_cast<uint32_t>(s) & (kFrequencyTotal - 1);
    to = decoding.symbol[slot];
    const uint32_t fs = decoding.frequency_start[to];
    s = (fs >> 16) * (s >> kFrequencyBits) + slot - (fs & 0xffffu);
    if (s < kLow) {
      if (at == end) {
        enough = false;
        s = kLow;
      } else {
        s = s << 32 | read_little_endian<uint32_t>(at);
        at += 4;
      }
    }
  };
  if (states == 4) {
    uint64_t a = x[0], b = x[1], c = x[2], d = x[3];
    size_t k = 0;
    for (; k + 4 <= out.size() && enough; k += 4) {
      step(a, out[k]);
      step(b, out[k + 1]);
      step(c, out[k + 2]);
      step(d, out[k + 3]);
    }
    x[0] = a, x[1] = b, x[2] = c, x[3] = d;
    for (; k < out.size() && enough; ++k)
      step(x[k & 3], out[k]);
  } else {
    for (size_t k = 0; k < out.size() && enough; ++k)
      step(x[0], out[k]);
  }
  return enough && at == end && std::all_of(x, x + 4, [](uint64_t s) { return s == kLow; });
}

}  // namespace

FrequencyTable frequencies_of(std::span<const int64_t> counts) {
  FrequencyTable t;
  t.symbols = static_cast<int>(counts.size());
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), int64_t{0}));
  std::vector<size_t> used;
  int64_t sum = 0;
  for (size_t s = 0; s < counts.size(); ++s) {
    if (counts[s] <= 0) continue;
    used.push_back(s);
    t.frequency[s] =
        static_cast<uint16_t>(std::max<int64_t>(1, std::llround(static_cast<double>(counts[s]) / total * kFrequencyTotal)));
    sum += t.frequency[s];
  }
  // Give or take the rest where it changes the coded size least: count / frequency is the slope of the size.
  const auto slope = [&](size_t s) { return static_cast<double>(counts[s]) / t.frequency[s]; };
  for (; sum < kFrequencyTotal; ++sum)
    ++t.frequency[*std::max_element(used.begin(), used.end(), [&](size_t a, size_t b) { return slope(a) < slope(b); })];
  for (; sum > kFrequencyTotal; --sum) {
    size_t best = used[0];
    double least = INFINITY;
    for (size_t s : used)
      if (t.frequency[s] > 1 && slope(s) < least) least = slope(s), best = s;
    --t.frequency[best];
  }
  return t;
}

double coded_bits(std::span<const int64_t> counts, const FrequencyTable& table) {
  double bits = 0;
  for (size_t s = 0; s < counts.size(); ++s)
    if (counts[s] > 0)
      bits += table.frequency[s] > 0
                  ? static_cast<double>(counts[s]) * (kFrequencyBits - std::log2(static_cast<double>(table.frequency[s])))
                  : INFINITY;
  return bits;
}

void write_frequencies(BitWriter& out, const FrequencyTable& table) {
  for (int s = 0; s < table.symbols; ++s)
    out.put_gamma(static_cast<uint64_t>(table.frequency[static_cast<size_t>(s)]) + 1);
}

int64_t frequency_bits(const FrequencyTable& table) {
  int64_t bits = 0;
  for (int s = 0; s < table.symbols; ++s)
    bits += 2 * std::bit_width(static_cast<uint64_t>(table.frequency[static_cast<size_t>(s)]) + 1) - 1;
  return bits;
}

FrequencyTable read_frequencies(BitReader& in, int symbols, const char* coder) {
  FrequencyTable t;
  t.symbols = symbols;
  uint64_t sum = 0;
  for (int s = 0; s < symbols; ++s) {
    const uint64_t f = in.get_gamma() - 1;
    sum += f;
    if (f > kFrequencyTotal || sum > kFrequencyTotal) break;
    t.frequency[static_cast<size_t>(s)] = static_cast<uint16_t>(f);
  }
  if (sum != kFrequencyTotal)
    damaged_plane(coder, "frequencies that do not add up", fmt::format("a sum of {}", kFrequencyTotal));
  return t;
}

std::vector<std::byte> rans_encode(std::span<const uint8_t> symbols, const FrequencyTable& table) {
  if (symbols.empty()) return {};
  std::array<Encoding, 256> encoding;
  uint32_t start = 0;
  for (int s = 0; s < table.symbols; ++s) {
    const uint32_t f = table.frequency[static_cast<size_t>(s)];
    if (f > 0) encoding[static_cast<size_t>(s)] = Encoding(start, f);
    start += f;
  }
  const size_t pieces = (symbols.size() + kRansChunk - 1) / kRansChunk;
  std::vector<std::vector<uint32_t>> words(pieces);
#pragma omp parallel for schedule(dynamic) if (pieces > 1)
  for (size_t c = 0; c < pieces; ++c)
    words[c] = encode_piece(symbols.subspan(c * kRansChunk, std::min(kRansChunk, symbols.size() - c * kRansChunk)), encoding);
  std::vector<std::byte> out;
  size_t total = 4 * (pieces - 1);
  for (const auto& w : words)
    total += 4 * w.size();
  out.reserve(total);
  for (size_t c = 0; c + 1 < pieces; ++c)
    append_little_endian(out, static_cast<uint32_t>(4 * words[c].size()));
  for (const auto& piece : words)
    for (uint32_t w : piece)
      append_little_endian(out, w);
  return out;
}

void rans_decode(std::span<const std::byte> bytes, const FrequencyTable& table, std::span<uint8_t> out, const char* coder) {
  if (out.empty()) {
    if (!bytes.empty()) damaged_plane(coder, "bytes where no symbols are", "none");
    return;
  }
  const size_t pieces = (out.size() + kRansChunk - 1) / kRansChunk;
  if (bytes.size() < 4 * (pieces - 1))
    damaged_plane(coder, "its bytes end early", fmt::format("the lengths of {} pieces", pieces));
  std::vector<std::span<const std::byte>> piece(pieces);
  size_t at = 4 * (pieces - 1);
  for (size_t c = 0; c < pieces; ++c) {
    const size_t left = bytes.size() - at;
    const size_t length = c + 1 < pieces ? read_little_endian<uint32_t>(bytes.data() + 4 * c) : left;
    if (length > left) damaged_plane(coder, fmt::format("piece {} of {} bytes", c, length), fmt::format("at most {}", left));
    piece[c] = bytes.subspan(at, length);
    at += length;
  }
  const Decoding decoding(table);
  std::vector<uint8_t> good(pieces);
#pragma omp parallel for schedule(dynamic) if (pieces > 1)
  for (size_t c = 0; c < pieces; ++c)
    good[c] = decode_piece(piece[c], decoding, out.subspan(c * kRansChunk, std::min(kRansChunk, out.size() - c * kRansChunk)))
                  ? 1
                  : 0;
  for (size_t c = 0; c < pieces; ++c)
    if (good[c] == 0) damaged_plane(coder, fmt::format("piece {} does not decode to its symbols", c), "intact bytes");
}

double rans_size_bits(int64_t symbols, double coded) {
  double bits = 0;
  for (int64_t left = symbols; left > 0; left -= static_cast<int64_t>(kRansChunk)) {
    const size_t n = static_cast<size_t>(std::min<int64_t>(left, static_cast<int64_t>(kRansChunk)));
    const double states = static_cast<double>(states_of(n)),
                 share = coded * static_cast<double>(n) / static_cast<double>(symbols);
    // A state costs 64 bits and ends with 16 bits of symbols in it on average, so that many are not in words.
    bits += std::max(64 * states, share + 48 * states) + (left > static_cast<int64_t>(kRansChunk) ? 32 : 0);
  }
  return bits;
}

}  // namespace sage
