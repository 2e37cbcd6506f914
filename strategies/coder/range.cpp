#include "strategies/coder/range.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "strategies/coder/bits.h"
#include "strategies/coder/positions.h"
#include "strategies/coder/rans.h"
#include "strategies/coder/raw.h"
#include "strategies/coder/runs.h"

namespace sage {
namespace {

constexpr const char* kCoder = "range";
enum class SymbolMode : uint8_t { kConstant = 0, kRans = 1, kRaw = 2 };
enum class PositionMode : uint8_t { kEmpty = 0, kGeometric = 1, kTable = 2 };

std::vector<int64_t> histogram_of(std::span<const uint8_t> symbols, int alphabet) {
  std::array<std::array<int64_t, 256>, 4> h{};  // four, so that equal neighbours do not wait for each other
  size_t k = 0;
  for (; k + 4 <= symbols.size(); k += 4)
    for (size_t l = 0; l < 4; ++l)
      ++h[l][symbols[k + l]];
  for (; k < symbols.size(); ++k)
    ++h[0][symbols[k]];
  std::vector<int64_t> out(static_cast<size_t>(alphabet));
  for (size_t s = 0; s < out.size(); ++s)
    out[s] = h[0][s] + h[1][s] + h[2][s] + h[3][s];
  return out;
}

double rans_bits(std::span<const int64_t> counts, int64_t total) {
  const FrequencyTable t = frequencies_of(counts);
  return static_cast<double>((frequency_bits(t) + 7) / 8 * 8) + rans_size_bits(total, coded_bits(counts, t));
}

void append_leb128(std::vector<std::byte>& out, uint64_t v) {
  for (; v >= 128; v >>= 7)
    out.push_back(static_cast<std::byte>(v | 128));
  out.push_back(static_cast<std::byte>(v));
}
uint64_t read_leb128(std::span<const std::byte>& bytes) {
  uint64_t v = 0;
  for (int shift = 0; shift < 42; shift += 7) {
    if (bytes.empty()) damaged_plane(kCoder, "its bytes end early", "a number");
    const auto b = static_cast<uint64_t>(bytes[0]);
    bytes = bytes.subspan(1);
    v |= (b & 127) << shift;
    if (b < 128) return v;
  }
  damaged_plane(kCoder, "a number of more than 42 bits", "a count");
}
int leb128_bytes(uint64_t v) { return std::max(1, (static_cast<int>(std::bit_width(v)) + 6) / 7); }

// Calls f(run) for the unset positions before each set one.
template <class F>
void for_each_run(const BitMask& mask, F&& f) {
  int64_t next = 0;  // first position not yet accounted for
  for (int64_t i = 0; i < mask.rows(); ++i)
    for_each_set(mask, i, [&](int64_t j) {
      const int64_t at = i * mask.cols() + j;
      f(static_cast<uint64_t>(at - next));
      next = at + 1;
    });
}

// What both coding and estimating need to know about a mask.
struct Runs {
  std::vector<int64_t> counts;  // of tokens 0 .. last
  int64_t set = 0;
  int64_t plain_bits = 0;
  int last = 0;
  bool geometric = true;
  FrequencyTable table;
  double bits = 0;  // of model, tokens and plain bits, with mode and lengths

  explicit Runs(const BitMask& mask) : counts(kRunTokens) {
    for_each_run(mask, [&](uint64_t run) {
      const RunToken t = token_of(run);
      ++counts[static_cast<size_t>(t.token)];
      plain_bits += t.plain_bits;
      last = std::max(last, t.token);
      ++set;
    });
    if (set == 0) {
      bits = 8;
      return;
    }
    counts.resize(static_cast<size_t>(last) + 1);
    const FrequencyTable model =
        geometric_frequencies(static_cast<uint64_t>(set), static_cast<uint64_t>(mask.rows() * mask.cols()), last);
    const FrequencyTable own = frequencies_of(counts);
    const double model_bits = rans_size_bits(set, coded_bits(counts, model));
    const double own_bits =
        rans_size_bits(set, coded_bits(counts, own)) + static_cast<double>((frequency_bits(own) + 7) / 8 * 8);
    geometric = model_bits <= own_bits;
    table = geometric ? model : own;
    const int64_t plain_bytes = (plain_bits + 7) / 8;
    bits = (geometric ? model_bits : own_bits) +
           8.0 * static_cast<double>(2 + leb128_bytes(static_cast<uint64_t>(set)) +
                                     leb128_bytes(static_cast<uint64_t>(plain_bytes)) + plain_bytes);
  }
};

}  // namespace

std::vector<std::byte> RangeCoder::encode_symbols(std::span<const uint8_t> symbols, int alphabet) const {
  if (symbols.empty()) return {};
  const std::vector<int64_t> counts = histogram_of(symbols, alphabet);
  const auto mode_byte = [](SymbolMode m) { return static_cast<std::byte>(m); };
  if (counts[symbols[0]] == static_cast<int64_t>(symbols.size()))
    return {mode_byte(SymbolMode::kConstant), static_cast<std::byte>(symbols[0])};
  const int bits = bits_for(alphabet);
  const size_t raw = packed_bytes(symbols.size(), bits);
  if (rans_bits(counts, static_cast<int64_t>(symbols.size())) < 8.0 * static_cast<double>(raw)) {
    const FrequencyTable table = frequencies_of(counts);
    BitWriter model;
    model.put(static_cast<uint64_t>(SymbolMode::kRans), 8);
    write_frequencies(model, table);
    std::vector<std::byte> out = model.finish();
    const std::vector<std::byte> coded = rans_encode(symbols, table);
    out.insert(out.end(), coded.begin(), coded.end());
    return out;
  }
  std::vector<std::byte> out(1 + raw, mode_byte(SymbolMode::kRaw));
  pack_symbols(symbols, bits, out.data() + 1);
  return out;
}

void RangeCoder::decode_symbols(std::span<const std::byte> bytes, int alphabet, std::span<uint8_t> out) const {
  if (out.empty()) {
    if (!bytes.empty()) damaged_plane(kCoder, fmt::format("{} bytes where no symbols are", bytes.size()), "none");
    return;
  }
  if (bytes.empty()) damaged_plane(kCoder, "no bytes", fmt::format("{} symbols", out.size()));
  const std::span<const std::byte> body = bytes.subspan(1);
  switch (static_cast<SymbolMode>(bytes[0])) {
    case SymbolMode::kConstant:
      if (body.size() != 1 || static_cast<int>(body[0]) >= alphabet)
        damaged_plane(kCoder, "a constant plane with a bad symbol", fmt::format("one byte below {}", alphabet));
      std::fill(out.begin(), out.end(), static_cast<uint8_t>(body[0]));
      return;
    case SymbolMode::kRans: {
      BitReader in(body, kCoder);
      const FrequencyTable table = read_frequencies(in, alphabet, kCoder);
      rans_decode(body.subspan(in.finish()), table, out, kCoder);
      return;
    }
    case SymbolMode::kRaw: RawCoder({}).decode_symbols(body, alphabet, out); return;
  }
  damaged_plane(kCoder, fmt::format("mode {}", static_cast<int>(bytes[0])), "mode 0, 1 or 2");
}

double RangeCoder::symbol_bits(const SymbolCount& count) const {
  if (count.count <= 0) return 0;
  const double raw = 8.0 + 8.0 * static_cast<double>(packed_bytes(static_cast<size_t>(count.count), bits_for(count.alphabet)));
  std::vector<int64_t> counts = count.histogram;
  if (counts.empty()) {
    if (count.alphabet == 1) return 16;
    counts.assign(static_cast<size_t>(count.alphabet), std::max<int64_t>(1, count.count / count.alphabet));
  }
  if (std::count_if(counts.begin(), counts.end(), [](int64_t c) { return c > 0; }) < 2) return 16;
  return std::min(raw, 8 + rans_bits(counts, count.count));
}

std::vector<std::byte> RangeCoder::encode_positions(const BitMask& mask) const {
  const Runs runs(mask);
  if (runs.set == 0) return {static_cast<std::byte>(PositionMode::kEmpty)};
  std::vector<uint8_t> tokens;
  tokens.reserve(static_cast<size_t>(runs.set));
  BitWriter plain(static_cast<size_t>(runs.plain_bits / 8 + 1));
  for_each_run(mask, [&](uint64_t run) {
    const RunToken t = token_of(run);
    tokens.push_back(static_cast<uint8_t>(t.token));
    plain.put(run & ((uint64_t{1} << t.plain_bits) - 1), t.plain_bits);
  });
  std::vector<std::byte> out{static_cast<std::byte>(runs.geometric ? PositionMode::kGeometric : PositionMode::kTable)};
  append_leb128(out, static_cast<uint64_t>(runs.set));
  out.push_back(static_cast<std::byte>(runs.last));
  if (!runs.geometric) {
    BitWriter model;
    write_frequencies(model, runs.table);
    const std::vector<std::byte> bytes = model.finish();
    out.insert(out.end(), bytes.begin(), bytes.end());
  }
  const std::vector<std::byte> plain_bytes = plain.finish(), coded = rans_encode(tokens, runs.table);
  append_leb128(out, plain_bytes.size());
  out.insert(out.end(), plain_bytes.begin(), plain_bytes.end());
  out.insert(out.end(), coded.begin(), coded.end());
  return out;
}

BitMask RangeCoder::decode_positions(std::span<const std::byte> bytes, int64_t rows, int64_t cols) const {
  BitMask mask = checked_mask(kCoder, rows, cols);
  const uint64_t positions = static_cast<uint64_t>(rows) * static_cast<uint64_t>(cols);
  if (bytes.empty()) damaged_plane(kCoder, "no bytes", "a mode");
  const auto mode = static_cast<PositionMode>(bytes[0]);
  std::span<const std::byte> left = bytes.subspan(1);
  if (mode == PositionMode::kEmpty) {
    if (!left.empty()) damaged_plane(kCoder, "bytes after an empty set", "none");
    return mask;
  }
  if (mode != PositionMode::kGeometric && mode != PositionMode::kTable)
    damaged_plane(kCoder, fmt::format("mode {}", static_cast<int>(bytes[0])), "mode 0, 1 or 2");
  const uint64_t set = read_leb128(left);
  if (set == 0 || set > positions)
    damaged_plane(kCoder, fmt::format("{} of {} positions set", set, positions), "1 to all of them");
  if (left.empty()) damaged_plane(kCoder, "its bytes end early", "a model");
  const int last = static_cast<int>(left[0]);
  left = left.subspan(1);
  if (first_run(last) >= positions)
    damaged_plane(kCoder, fmt::format("runs of {}", first_run(last)), fmt::format("runs below {}", positions));
  FrequencyTable table;
  if (mode == PositionMode::kGeometric) {
    table = geometric_frequencies(set, positions, last);
  } else {
    BitReader in(left, kCoder);
    table = read_frequencies(in, last + 1, kCoder);
    left = left.subspan(in.finish());
  }
  const uint64_t plain_bytes = read_leb128(left);
  if (plain_bytes > left.size())
    damaged_plane(kCoder, fmt::format("{} bytes of plain bits", plain_bytes), fmt::format("at most {}", left.size()));
  std::vector<uint8_t> tokens(set);
  rans_decode(left.subspan(plain_bytes), table, tokens, kCoder);
  BitReader plain(left.first(plain_bytes), kCoder);
  uint64_t next = 0, row_start = 0;
  int64_t row = 0;
  for (uint8_t token : tokens) {
    next += first_run(token) + plain.get(plain_bits_of(token));
    if (next >= positions)
      damaged_plane(kCoder, fmt::format("position {}", next), fmt::format("positions below {}", positions));
    if (next - row_start >= static_cast<uint64_t>(cols)) {
      row = static_cast<int64_t>(next / static_cast<uint64_t>(cols));
      row_start = static_cast<uint64_t>(row) * static_cast<uint64_t>(cols);
    }
    mask.set(row, static_cast<int64_t>(next - row_start));
    ++next;
  }
  if (plain.finish() != plain_bytes) damaged_plane(kCoder, "plain bits after its end", "none");
  return mask;
}

double RangeCoder::position_bits(const BitMask& mask) const { return Runs(mask).bits; }

}  // namespace sage
