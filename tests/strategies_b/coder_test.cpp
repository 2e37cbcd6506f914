#include <omp.h>

#include "core/util/errors.h"
#include "strategies/coder/bitmap.h"
#include "strategies/coder/csr.h"
#include "strategies/coder/delta8.h"
#include "strategies/coder/range.h"
#include "strategies/coder/rans.h"
#include "strategies/coder/raw.h"
#include "strategies/coder/runs.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

std::vector<std::unique_ptr<Coder>> coders() {
  std::vector<std::unique_ptr<Coder>> out;
  out.push_back(std::make_unique<RawCoder>(RawCoder::Params{}));
  out.push_back(std::make_unique<BitmapCoder>(BitmapCoder::Params{}));
  out.push_back(std::make_unique<CsrCoder>(CsrCoder::Params{}));
  out.push_back(std::make_unique<Delta8Coder>(Delta8Coder::Params{}));
  out.push_back(std::make_unique<RangeCoder>(RangeCoder::Params{}));
  return out;
}

double entropy(std::vector<double> p) {
  double h = 0;
  for (double v : p)
    if (v > 0) h -= v * std::log2(v);
  return h;
}

// Symbols drawn from weights, and their histogram.
struct Drawn {
  std::vector<uint8_t> symbols;
  SymbolCount count;
  double bits = 0;  // empirical zeroth-order entropy of all
};
Drawn draw(size_t n, const std::vector<double>& weights, uint64_t seed) {
  Drawn d;
  Rng rng(seed, "symbols");
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  d.count = {static_cast<int>(weights.size()), static_cast<int64_t>(n), std::vector<int64_t>(weights.size())};
  for (size_t k = 0; k < n; ++k) {
    double u = rng.uniform() * total;
    size_t s = 0;
    while (s + 1 < weights.size() && u >= weights[s])
      u -= weights[s++];
    d.symbols.push_back(static_cast<uint8_t>(s));
    ++d.count.histogram[s];
  }
  for (int64_t c : d.count.histogram)
    if (c > 0) d.bits -= static_cast<double>(c) * std::log2(static_cast<double>(c) / static_cast<double>(n));
  return d;
}

void expect_symbols_survive(const Coder& coder, const std::vector<uint8_t>& symbols, int alphabet) {
  const std::vector<std::byte> bytes = coder.encode_symbols(symbols, alphabet);
  std::vector<uint8_t> back(symbols.size(), 77);
  coder.decode_symbols(bytes, alphabet, back);
  ASSERT_EQ(back, symbols);
}

TEST(SymbolCoders, EverySizeAndAlphabet) {
  for (const auto& coder : coders()) {
    if (!coder->codes_symbols()) continue;
    for (int alphabet : {1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 100, 128, 129, 255, 256})
      for (size_t n : {0, 1, 2, 7, 8, 9, 63, 64, 65, 1000}) {
        SCOPED_TRACE(std::to_string(alphabet) + " x " + std::to_string(n));
        expect_symbols_survive(*coder, draw(n, std::vector<double>(static_cast<size_t>(alphabet), 1.0), n).symbols, alphabet);
        std::vector<double> skewed(static_cast<size_t>(alphabet));
        for (size_t s = 0; s < skewed.size(); ++s)
          skewed[s] = std::pow(.4, static_cast<double>(s));
        expect_symbols_survive(*coder, draw(n, skewed, n).symbols, alphabet);
        expect_symbols_survive(*coder, std::vector<uint8_t>(n, static_cast<uint8_t>(alphabet - 1)), alphabet);
      }
  }
}

TEST(SymbolCoders, ManyPieces) {
  for (const auto& coder : coders()) {
    if (!coder->codes_symbols()) continue;
    for (size_t n : {kRansChunk - 1, kRansChunk, kRansChunk + 1, 2 * kRansChunk + 12345})
      expect_symbols_survive(*coder, draw(n, {.7, .2, .07, .02, .01}, n).symbols, 5);
  }
}

TEST(RawCoder, LayoutIsLeastSignificantBitFirst) {
  const RawCoder raw({});
  const auto bytes = [](std::vector<int> v) {
    std::vector<std::byte> out;
    for (int b : v)
      out.push_back(static_cast<std::byte>(b));
    return out;
  };
  const std::vector<uint8_t> bits = {1, 0, 1, 1, 0, 0, 0, 1, 1};
  EXPECT_EQ(raw.encode_symbols(bits, 2), bytes({0x8d, 0x01}));
  const std::vector<uint8_t> pairs = {3, 1, 0, 2, 1};
  EXPECT_EQ(raw.encode_symbols(pairs, 4), bytes({0x87, 0x01}));
  const std::vector<uint8_t> triples = {5, 2, 7};  // 101, 010, 111 from the lowest bit up
  EXPECT_EQ(raw.encode_symbols(triples, 8), bytes({0xd5, 0x01}));
  const std::vector<uint8_t> nibbles = {0xa, 0x5, 0xf};
  EXPECT_EQ(raw.encode_symbols(nibbles, 16), bytes({0x5a, 0x0f}));
}

TEST(RawCoder, MatchesBitByBitPacking) {
  const RawCoder raw({});
  for (int bits = 1; bits <= 8; ++bits) {
    const std::vector<uint8_t> s = draw(1237, std::vector<double>(size_t{1} << bits, 1.0), static_cast<uint64_t>(bits)).symbols;
    std::vector<std::byte> expected((s.size() * static_cast<size_t>(bits) + 7) / 8);
    for (size_t k = 0; k < s.size(); ++k)
      for (int b = 0; b < bits; ++b)
        if ((s[k] >> b) & 1)
          expected[(k * static_cast<size_t>(bits) + static_cast<size_t>(b)) / 8] |=
              static_cast<std::byte>(1 << ((k * static_cast<size_t>(bits) + static_cast<size_t>(b)) % 8));
    EXPECT_EQ(raw.encode_symbols(s, 1 << bits), expected);
  }
}

TEST(RangeCoder, SymbolsComeWithinHalfAPercentOfTheirEntropy) {
  const RangeCoder coder({});
  const std::vector<std::vector<double>> laws = {
      {.9, .1}, {.99, .01}, {.999, .001}, {.5, .3, .1, .1}, {.4, .2, .1, .1, .05, .05, .05, .05}, std::vector<double>(5, 1.0)};
  for (const auto& law : laws) {
    const Drawn d = draw(600000, law, law.size());
    const double bits = 8.0 * static_cast<double>(coder.encode_symbols(d.symbols, d.count.alphabet).size());
    const double table =
        40.0 * static_cast<double>(law.size()) + 3 * (4 * 64 + 32);  // frequencies, states and lengths of three pieces
    EXPECT_LE(bits, 1.005 * d.bits + table);
    EXPECT_GE(bits, d.bits);
  }
  std::vector<double> normal;  // 8-bit codes of a normal variable
  for (int s = 0; s < 256; ++s)
    normal.push_back(std::exp(-.5 * std::pow((s - 128) / 32.0, 2)));
  const Drawn d = draw(600000, normal, 4);
  EXPECT_LE(8.0 * static_cast<double>(coder.encode_symbols(d.symbols, 256).size()), 1.005 * d.bits + 256 * 29 + 864);
}

TEST(RangeCoder, ConstantPlanesCostTwoBytesAndNoiseCostsItsWidth) {
  const RangeCoder coder({});
  EXPECT_EQ(coder.encode_symbols(std::vector<uint8_t>(100000, 3), 8).size(), 2u);
  const Drawn d = draw(100000, {1, 1, 1, 1}, 1);
  EXPECT_EQ(coder.encode_symbols(d.symbols, 4).size(), 25001u);
}

TEST(SymbolCoders, EstimatesMatchTheCodedSize) {
  for (const auto& coder : coders()) {
    if (!coder->codes_symbols()) continue;
    for (size_t n : {40u, 3000u, 50000u, 700000u})
      for (const std::vector<double>& law : std::vector<std::vector<double>>{
               {1}, {1, 1}, {.9, .1}, {.995, .005}, {.6, .3, .1}, {.5, .2, .1, .1, .05, .03, .01, .01}}) {
        const Drawn d = draw(n, law, n);
        const double bits = 8.0 * static_cast<double>(coder->encode_symbols(d.symbols, d.count.alphabet).size());
        EXPECT_NEAR(coder->symbol_bits(d.count), bits, .01 * bits + 100) << n << " of " << law.size();
      }
    // Without a histogram: equal probabilities.
    const Drawn d = draw(100000, std::vector<double>(6, 1.0), 9);
    const double bits = 8.0 * static_cast<double>(coder->encode_symbols(d.symbols, 6).size());
    EXPECT_NEAR(coder->symbol_bits({6, 100000, {}}), bits, .01 * bits + 100);
  }
}

std::vector<BitMask> masks() {
  std::vector<BitMask> out;
  uint64_t seed = 0;
  for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 63}, {1, 64}, {1, 65}, {1, 5000}, {70, 1}, {33, 65}, {64, 576}, {3, 70000}, {2, 65536}, {2, 65535}})
    for (double r : {0.0, .001, .01, .1, .5, .9, 1.0})
      out.push_back(test::random_bits(rows, cols, r, ++seed));
  BitMask corner(300, 700);
  corner.set(299, 699);
  out.push_back(corner);
  BitMask clustered(200, 640);  // whole columns, as outlier channels give
  for (int64_t i = 0; i < 200; ++i)
    for (int64_t j : {3, 77, 78, 79, 500})
      clustered.set(i, j);
  out.push_back(clustered);
  return out;
}

TEST(PositionCoders, EveryShapeAndRatio) {
  for (const auto& coder : coders()) {
    if (!coder->codes_positions()) continue;
    for (const BitMask& m : masks()) {
      const std::vector<std::byte> bytes = coder->encode_positions(m);
      ASSERT_EQ(coder->decode_positions(bytes, m.rows(), m.cols()), m)
          << m.rows() << " x " << m.cols() << ", " << m.count() << " set";
      const double bits = 8.0 * static_cast<double>(bytes.size());
      EXPECT_NEAR(coder->position_bits(m), bits, .01 * bits + 100)
          << m.rows() << " x " << m.cols() << ", " << m.count() << " set";
    }
  }
}

// Bits for n = 4096 and r = .01: bitmap 1, row lists r ceil(log2 n) + 16/n = .1239, byte gaps 8 r (1 + (1-r)^255) + 16/n, and
// the entropy H2(r) = .0808.
TEST(PositionCoders, BitsPerWeightOf4096Columns) {
  const BitMask m = test::random_bits(512, 4096, .01, 99);
  const double n = 512.0 * 4096, r = static_cast<double>(m.count()) / n;
  const auto bits = [&](const Coder& c) { return 8.0 * static_cast<double>(c.encode_positions(m).size()) / n; };
  EXPECT_EQ(bits(BitmapCoder({})), 1);
  EXPECT_NEAR(bits(CsrCoder({})), .1239, .1239 * .02);
  EXPECT_NEAR(bits(CsrCoder({})), r * 12 + 16.0 / 4096, 1e-5);
  EXPECT_NEAR(bits(Delta8Coder({})), 8 * r * (1 + std::pow(1 - r, 255)) + 16.0 / 4096, .003);
  const double h = entropy({r, 1 - r});
  EXPECT_NEAR(h, .0808, .0808 * .02);
  EXPECT_GT(bits(RangeCoder({})), h * .995);
  EXPECT_LT(bits(RangeCoder({})), h * 1.01);
}

TEST(RangeCoder, PositionsComeNearTheirEntropyAtEveryRatio) {
  for (double ratio : {.001, .01, .05, .2, .5, .8, .97}) {
    const BitMask m = test::random_bits(400, 1000, ratio, 7);
    const double r = static_cast<double>(m.count()) / 4e5;
    const double bits = 8.0 * static_cast<double>(RangeCoder({}).encode_positions(m).size());
    EXPECT_LT(bits, 4e5 * entropy({r, 1 - r}) * 1.015 + 300) << ratio;
  }
  BitMask columns(1000, 1000);  // clustered positions beat H2 because runs have their own frequencies
  for (int64_t i = 0; i < 1000; ++i)
    for (int64_t j = 0; j < 10; ++j)
      columns.set(i, j * 100);
  EXPECT_LT(8.0 * static_cast<double>(RangeCoder({}).encode_positions(columns).size()), 1e6 * entropy({.01, .99}) * .6);
}

TEST(Runs, TokensAndPlainBitsGiveTheRunBack) {
  Rng rng(3, "runs");
  for (int trial = 0; trial < 100000; ++trial) {
    const uint64_t run = rng.next_u64() >> (31 + rng.below(33));
    const RunToken t = token_of(run);
    ASSERT_LT(t.token, kRunTokens);
    ASSERT_EQ(t.plain_bits, plain_bits_of(t.token));
    ASSERT_EQ(first_run(t.token) + (run & ((uint64_t{1} << t.plain_bits) - 1)), run);
  }
}

TEST(Runs, GeometricFrequenciesAreProper) {
  for (uint64_t positions : {uint64_t{1}, uint64_t{2}, uint64_t{1000}, uint64_t{1} << 32})
    for (double r : {1e-9, 1e-4, .01, .3, .5, .99, 1.0}) {
      const uint64_t set = std::clamp<uint64_t>(static_cast<uint64_t>(r * static_cast<double>(positions)), 1, positions);
      for (int last : {0, 1, 15, 16, 100, 247}) {
        const FrequencyTable t = geometric_frequencies(set, positions, last);
        int64_t sum = 0;
        for (int s = 0; s <= last; ++s) {
          ASSERT_GE(t.frequency[static_cast<size_t>(s)], 1);
          sum += t.frequency[static_cast<size_t>(s)];
        }
        ASSERT_EQ(sum, static_cast<int64_t>(kFrequencyTotal));
      }
    }
}

TEST(Coders, SameBytesForOneAndTwoThreads) {
  const Drawn d = draw(3 * kRansChunk, {.7, .2, .1}, 5);
  const int before = omp_get_max_threads();
  for (const auto& coder : coders()) {
    if (!coder->codes_symbols()) continue;
    omp_set_num_threads(1);
    const auto one = coder->encode_symbols(d.symbols, 3);
    omp_set_num_threads(2);
    EXPECT_EQ(one, coder->encode_symbols(d.symbols, 3));
  }
  omp_set_num_threads(before);
}

TEST(Coders, OfferWhatTheySay) {
  const std::vector<uint8_t> symbols = {0, 1, 1};
  for (const auto& coder : coders()) {
    EXPECT_TRUE(coder->codes_symbols() || coder->codes_positions());
    if (!coder->codes_symbols()) {
      EXPECT_THROW(coder->encode_symbols(symbols, 2), Error);
    }
    if (!coder->codes_positions()) {
      EXPECT_THROW(coder->encode_positions(BitMask(2, 2)), Error);
    }
  }
}

// Cut, lengthened and overwritten bytes: an error that says so or other symbols inside the alphabet, never a crash.
TEST(Coders, DamagedSymbolsAreNeverAccepted) {
  const Drawn d = draw(20000, {.6, .2, .1, .05, .05}, 5);
  Rng rng(1, "damage");
  for (const auto& coder : coders()) {
    if (!coder->codes_symbols()) continue;
    const std::vector<std::byte> good = coder->encode_symbols(d.symbols, 5);
    std::vector<uint8_t> out(d.symbols.size());
    for (size_t cut : {size_t{0}, size_t{1}, size_t{5}, good.size() / 2, good.size() - 1})
      EXPECT_THROW(coder->decode_symbols(std::span(good).first(cut), 5, out), ResourceError) << cut;
    std::vector<std::byte> longer = good;
    longer.push_back(std::byte{0});
    EXPECT_THROW(coder->decode_symbols(longer, 5, out), ResourceError);
    int refused = 0;
    for (int trial = 0; trial < 300; ++trial) {
      std::vector<std::byte> bad = good;
      for (int k = 0; k < 3; ++k)
        bad[rng.below(bad.size())] = static_cast<std::byte>(rng.below(256));
      try {
        coder->decode_symbols(bad, 5, out);
        for (uint8_t s : out)
          ASSERT_LT(s, 5);
      } catch (const ResourceError&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 100);
  }
}

TEST(Coders, DamagedPositionsAreNeverAccepted) {
  const BitMask m = test::random_bits(60, 300, .05, 5);
  Rng rng(1, "damage");
  for (const auto& coder : coders()) {
    if (!coder->codes_positions()) continue;
    const std::vector<std::byte> good = coder->encode_positions(m);
    for (size_t cut : {size_t{0}, size_t{1}, size_t{5}, good.size() / 2, good.size() - 1})
      EXPECT_THROW(coder->decode_positions(std::span(good).first(cut), 60, 300), ResourceError) << cut;
    std::vector<std::byte> longer = good;
    longer.push_back(std::byte{0});
    EXPECT_THROW(coder->decode_positions(longer, 60, 300), ResourceError);
    for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{-1, 5}, {5, -1}, {int64_t{1} << 40, int64_t{1} << 40}})
      EXPECT_THROW(coder->decode_positions(good, rows, cols), ResourceError);
    for (int trial = 0; trial < 300; ++trial) {
      std::vector<std::byte> bad = good;
      for (int k = 0; k < 3; ++k)
        bad[rng.below(bad.size())] = static_cast<std::byte>(rng.below(256));
      try {
        const BitMask back = coder->decode_positions(bad, 60, 300);
        ASSERT_EQ(back.rows(), 60);
        for (int64_t i = 0; i < 60; ++i)
          ASSERT_EQ(back.row(i)[4] & ~back.valid_bits(4), 0u);
      } catch (const ResourceError&) {
      }
    }
  }
}

}  // namespace
}  // namespace sage
