// Running quantizers, transforms and coders without an engine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/strategy/quantizer.h"
#include "core/strategy/transform.h"
#include "core/util/random.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/fixture.h"

namespace sage::test {

inline const Backend& backend() {
  static const std::unique_ptr<Backend> b = make_reference_backend();
  return *b;
}

inline BlockContext context(WeightView w, Numerics numerics = Numerics::kPacked, uint64_t seed = 1) {
  static Trace trace;
  return BlockContext{w, 0, backend(), MatrixId{0, "test"}, seed, numerics, &trace};
}

inline PlaneReader reader_of(const PlaneWriter& w) {
  return PlaneReader(w.symbol_planes(), w.number_planes(), w.integers(), "test");
}

inline double energy(WeightView w) {
  double s = 0;
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      s += static_cast<double>(w(i, j)) * w(i, j);
  return s;
}

// kRows: several threads, each with rows of its own, column by column from buffers where a column's values are neighbours.
enum class Order { kWhole, kColumns, kShuffled, kRows };

struct Coded {
  double squared_error = 0;  // recomputed from the decoded values
  double reported = 0;
  PaperCount paper;
  Matrix decoded;  // kUntouched where nothing is owned
  PlaneWriter planes{Numerics::kPacked};
};
inline constexpr float kUntouched = 12345.5f;

// A quantizer that says as data how it codes must code the same that way, symbols and values.
inline void expect_same_as_data(const Quantizer& q, const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                double threshold, const Matrix& encoded, const PlaneWriter& planes) {
  const WeightView w = ctx.weights;
  const std::unique_ptr<FittedQuantizer> fitted = q.fit(ctx, own, groups, threshold);
  fitted->start_coding();
  const std::optional<ElementCode> code = fitted->element_code();
  if (!code) return;
  constexpr int64_t kBlock = 37;
  for (int64_t first = 0; first < w.cols; first += kBlock) {
    const int64_t last = std::min(first + kBlock, w.cols), k = last - first;
    std::vector<std::array<CodedColumn, 2>> columns(static_cast<size_t>(k));
    for (int64_t c = 0; c < k; ++c)
      columns[static_cast<size_t>(c)][own.salient ? 1 : 0] = {0, first + c};
    Matrix decoded(w.rows, k);
    std::vector<uint8_t> symbols(static_cast<size_t>(w.rows * k * code->planes));
    const View<uint8_t> all(symbols.data(), w.rows, k * code->planes);
    backend().block_coder()->code_block({{&*code, 1}, columns, Correction::kNone, {}}, w.columns(first, last), decoded.view(),
                                        all, {});
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t c = 0; c < k; ++c)
        if (own.owns(i, first + c)) {
          ASSERT_EQ(std::bit_cast<uint32_t>(decoded(i, c)), std::bit_cast<uint32_t>(encoded(i, first + c)))
              << i << ", " << first + c;
        }
    std::vector<View<const uint8_t>> parts;
    for (int p = 0; p < code->planes; ++p)
      parts.emplace_back(all.columns(p * k, (p + 1) * k));
    fitted->place_symbols(parts, first);
  }
  PlaneWriter same(planes.numerics());
  fitted->emit(same);
  ASSERT_EQ(same.symbol_planes().size(), planes.symbol_planes().size());
  for (const auto& [name, p] : planes.symbol_planes())
    EXPECT_EQ(same.symbol_planes().at(name).symbols, p.symbols) << name;
}

// Fits, codes, emits and decodes; checks what every quantizer promises.
inline Coded code(const Quantizer& q, WeightView w, const SaliencyMask& mask, bool salient, const GroupMap& groups,
                  double threshold = 0, Numerics numerics = Numerics::kPacked, Order order = Order::kWhole) {
  const Selection own{&mask, salient};
  const BlockContext ctx = context(w, numerics);
  const std::unique_ptr<FittedQuantizer> fitted = q.fit(ctx, own, groups, threshold);
  Coded out;
  out.reported = fitted->squared_error();
  out.paper = fitted->paper_count();
  const std::vector<SymbolCount> counts = fitted->symbol_counts();
  const int64_t numbers = fitted->number_count();
  Matrix encoded(w.rows, w.cols);
  std::fill_n(encoded.data(), encoded.size(), kUntouched);
  fitted->start_coding();
  if (order == Order::kWhole) {
    fitted->encode(w, 0, 0, encoded.view());
  } else if (order == Order::kRows) {
    constexpr int64_t kThreads = 3;
    std::vector<std::thread> threads;
    for (int64_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        const int64_t first = w.rows * t / kThreads, rows = w.rows * (t + 1) / kThreads - first;
        std::vector<float> in(static_cast<size_t>(rows)), result(static_cast<size_t>(rows));
        for (int64_t j = w.cols - 1; j >= 0; --j) {
          for (int64_t i = 0; i < rows; ++i)
            in[static_cast<size_t>(i)] = w(first + i, j), result[static_cast<size_t>(i)] = kUntouched;
          fitted->encode({in.data(), rows, 1, 1}, first, j, {result.data(), rows, 1, 1});
          for (int64_t i = 0; i < rows; ++i)
            encoded(first + i, j) = result[static_cast<size_t>(i)];
        }
      });
    for (std::thread& t : threads)
      t.join();
  } else {
    std::vector<int64_t> columns(static_cast<size_t>(w.cols));
    std::iota(columns.begin(), columns.end(), 0);
    Rng rng(5, "columns");
    if (order == Order::kShuffled)
      for (size_t j = columns.size(); j > 1; --j)
        std::swap(columns[j - 1], columns[rng.below(j)]);
    for (int64_t j : columns)
      fitted->encode(w.columns(j, j + 1), 0, j, encoded.view().columns(j, j + 1));
  }
  out.planes = PlaneWriter(numerics);
  fitted->emit(out.planes);

  int64_t stored_numbers = 0;
  std::map<Role, int64_t> stored_symbols, counted_symbols;
  for (const auto& [name, p] : out.planes.number_planes())
    stored_numbers += static_cast<int64_t>(p.values.size());
  for (const auto& [name, p] : out.planes.symbol_planes())
    if (!p.symbols.empty()) stored_symbols[p.role] += static_cast<int64_t>(p.symbols.size());
  for (const SymbolCount& c : counts) {
    if (c.count > 0) counted_symbols[c.role] += c.count;
    if (!c.histogram.empty()) {
      EXPECT_EQ(std::accumulate(c.histogram.begin(), c.histogram.end(), int64_t{0}), c.count);
    }
  }
  EXPECT_EQ(stored_numbers, numbers);
  EXPECT_LE(fitted->shared_number_count(), numbers);
  EXPECT_EQ(stored_symbols, counted_symbols);

  expect_same_as_data(q, ctx, own, groups, threshold, encoded, out.planes);

  out.decoded = Matrix(w.rows, w.cols);
  std::fill_n(out.decoded.data(), out.decoded.size(), kUntouched);
  PlaneReader reader = reader_of(out.planes);
  q.decode(reader, own, groups, out.decoded.view());
  EXPECT_NO_THROW(reader.expect_consumed());
  EXPECT_EQ(std::memcmp(out.decoded.data(), encoded.data(), sizeof(float) * static_cast<size_t>(w.size())), 0)
      << "decode differs from what encode wrote";
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j) {
      if (!own.owns(i, j)) {
        EXPECT_EQ(out.decoded(i, j), kUntouched);
        continue;
      }
      const double e = static_cast<double>(w(i, j)) - out.decoded(i, j);
      out.squared_error += e * e;
    }
  EXPECT_NEAR(out.reported, out.squared_error, 1e-5 * energy(w) * 0.1 + 1e-12);
  return out;
}

inline Coded code_all(const Quantizer& q, WeightView w, Numerics numerics = Numerics::kPacked,
                      const GroupMap* groups = nullptr) {
  const SaliencyMask none = SaliencyMask::none(w.rows, w.cols);
  return code(q, w, none, false, groups != nullptr ? *groups : GroupMap::single(w.rows, w.cols), 0, numerics);
}

// |w| above its floor((1 - r)(N - 1))-th order statistic.
inline SaliencyMask largest(WeightView w, double ratio, double* threshold = nullptr) {
  std::vector<float> a;
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      a.push_back(std::abs(w(i, j)));
  const auto k = static_cast<int64_t>((1 - ratio) * static_cast<double>(a.size() - 1));
  std::nth_element(a.begin(), a.begin() + k, a.end());
  const float t = a[static_cast<size_t>(k)];
  BitMask bits(w.rows, w.cols);
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      if (std::abs(w(i, j)) > t) bits.set(i, j);
  if (threshold != nullptr) *threshold = t;
  return SaliencyMask::elements(std::move(bits));
}

inline BitMask random_bits(int64_t rows, int64_t cols, double ratio, uint64_t seed) {
  BitMask bits(rows, cols);
  Rng rng(seed, "mask");
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j)
      if (rng.uniform() < ratio) bits.set(i, j);
  return bits;
}

// A map of every shape with about `groups` groups.
inline GroupMap make_groups(LabelShape shape, int64_t rows, int64_t cols, int64_t groups) {
  GroupMap g = GroupMap::single(rows, cols);
  g.shape = shape;
  g.groups = shape == LabelShape::kSingle ? 1 : groups;
  g.block = 7;
  const auto label = [&](int64_t k) { return static_cast<uint32_t>((k * 2654435761u >> 7) % static_cast<uint64_t>(groups)); };
  const int64_t labels = shape == LabelShape::kRow        ? rows
                         : shape == LabelShape::kColumn   ? cols
                         : shape == LabelShape::kRowBlock ? rows * g.blocks_per_row()
                                                          : 0;
  for (int64_t k = 0; k < labels; ++k)
    g.label.push_back(label(k));
  if (shape == LabelShape::kElement)
    for (int64_t k = 0; k < rows * cols; ++k)
      g.element.push_back(static_cast<uint8_t>(label(k)));
  return g;
}

}  // namespace sage::test
