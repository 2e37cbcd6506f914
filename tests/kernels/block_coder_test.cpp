// Coding of columns: small cases by hand, what corrections mean, and every backend that codes blocks against the reference, bit
// for bit (whose codes are those of the quantizers: tests/strategies_b).
#include "core/backend/block_coder.h"

#include <bit>
#include <cstring>
#include <optional>

#include "core/backend/memory.h"
#include "tests/kernels/selections.h"

namespace sage::test {
namespace {

std::vector<std::string> coding_backends() { return {"reference", "cuda_on_cpu", "cuda"}; }

class Coding : public BackendTest {
 protected:
  const BlockCoder& coder() const { return *backend_->block_coder(); }
  const std::unique_ptr<Backend> reference_ = backend("reference");
};
INSTANTIATE_TEST_SUITE_P(Backends, Coding, testing::ValuesIn(coding_backends()), test_name);

struct Output {
  Matrix decoded, error;
  std::vector<uint8_t> symbols;
};

bool same_bits(const Matrix& a, const Matrix& b) {
  return a.size() == b.size() &&
         (a.size() == 0 || std::memcmp(a.data(), b.data(), sizeof(float) * static_cast<size_t>(a.size())) == 0);
}

int64_t planes_of(const BlockCoding& block) {
  int planes = 1;
  for (const ElementCode& c : block.codes)
    planes = std::max(planes, c.planes);
  return planes;
}

Output run(const BlockCoder& coder, const BlockCoding& block, WeightView w) {
  const bool corrected = block.correction != Correction::kNone;
  const int64_t planes = planes_of(block);
  Padded decoded(w.rows, w.cols, 3), error(corrected ? w.rows : 0, corrected ? w.cols : 0, 2);
  Output out{Matrix(w.rows, w.cols), Matrix(corrected ? w.rows : 0, corrected ? w.cols : 0), {}};
  out.symbols.assign(static_cast<size_t>(w.rows * planes * w.cols), 99);
  coder.code_block(block, w, decoded.view(), {out.symbols.data(), w.rows, planes * w.cols}, error.view());
  EXPECT_TRUE(decoded.margin_intact() && error.margin_intact());
  out.decoded = Matrix::copy(decoded.view());
  if (corrected) out.error = Matrix::copy(error.view());
  return out;
}

// A fit's code with what it refers to. The fit has `columns` columns.
struct Fit {
  SaliencyMask mask = SaliencyMask::none(0, 0);
  GroupMap groups;
  std::optional<ScaleUnits> units;
  std::vector<float> parameters;
  ElementCode code;

  void bind(bool salient, bool by_row) {
    units.emplace("test", groups, by_row, true);
    code.own = {&mask, salient};
    code.units = &*units;
  }
};

Fit whole(int64_t rows, int64_t cols, ElementCode code, std::vector<float> parameters) {
  Fit f;
  f.mask = SaliencyMask::none(rows, cols);
  f.groups = GroupMap::single(rows, cols);
  f.code = code;
  f.parameters = std::move(parameters);
  return f;
}

std::vector<std::array<CodedColumn, 2>> all_columns(int64_t k) {
  std::vector<std::array<CodedColumn, 2>> out(static_cast<size_t>(k));
  for (int64_t c = 0; c < k; ++c)
    out[static_cast<size_t>(c)][0] = {0, c};
  return out;
}

// One row through one code with the given parameters of its single unit.
Output one_row(const BlockCoder& coder, ElementCode code, std::vector<float> parameters, const std::vector<float>& w) {
  const auto k = static_cast<int64_t>(w.size());
  Fit f = whole(1, k, code, std::move(parameters));
  f.bind(false, true);
  f.code.parameters = f.parameters;
  const auto columns = all_columns(k);
  return run(coder, {{&f.code, 1}, columns, Correction::kNone, {}}, {w.data(), 1, k});
}
std::vector<float> values(const Output& o) { return {o.decoded.data(), o.decoded.data() + o.decoded.size()}; }
using Bytes = std::vector<uint8_t>;

TEST_P(Coding, SignsByHand) {
  ElementCode code;
  code.plain = true;
  Output o = one_row(coder(), code, {0.5f, 0, 0}, {1.0f, -2.0f, 0.0f, -0.0f});
  EXPECT_EQ(values(o), (std::vector<float>{0.5f, -0.5f, 0.5f, 0.5f}));
  EXPECT_EQ(o.symbols, (Bytes{0, 1, 0, 0}));
  o = one_row(coder(), code, {0.0f, 0, 0}, {1.0f, -2.0f});
  EXPECT_TRUE(std::signbit(o.decoded(0, 1)) && !std::signbit(o.decoded(0, 0)));

  code.plain = false;
  code.keep_zero = true;
  o = one_row(coder(), code, {2.0f, 1.0f, 1.0f}, {4.0f, 1.0f, 0.5f});
  EXPECT_EQ(values(o), (std::vector<float>{3.0f, 1.0f, -1.0f}));
  EXPECT_EQ(o.symbols, (Bytes{0, 2, 1}));

  // Two orders around 1 and -0.5; merged: the decoder's mean is the 0.25 it is told, not 0.5.
  code.keep_zero = false;
  code.planes = 2;
  const std::vector<float> w = {4.0f, 2.75f, 2.5f, -2.0f};
  o = one_row(coder(), code, {2.0f, 0.5f, 1.0f, -0.5f, 1.0f, -0.5f}, w);
  EXPECT_EQ(values(o), (std::vector<float>{3.0f, 3.0f, 3.0f, -2.0f}));
  EXPECT_EQ(o.symbols, (Bytes{0, 0, 0, 1, 0, 0, 0, 1}));  // 2.5 - 3 = -0.5 lies on the second mean
  code.merged = true;
  o = one_row(coder(), code, {2.0f, 0.5f, 1.0f, -0.5f, 0.25f, 0.0f}, w);
  EXPECT_EQ(values(o), (std::vector<float>{2.75f, 2.75f, 2.75f, -2.25f}));

  code = {};
  code.kind = ElementCode::Kind::kPositive;
  o = one_row(coder(), code, {1.5f}, {3.0f, 0.0f, -3.0f});
  EXPECT_EQ(values(o), (std::vector<float>{1.5f, 0.0f, 0.0f}));
  EXPECT_EQ(o.symbols, (Bytes{0, 1, 1}));
}

TEST_P(Coding, GridsByHand) {
  ElementCode code;
  code.kind = ElementCode::Kind::kGrid;
  code.largest = 7;
  Output o =
      one_row(coder(), code, {0.5f, 3.0f}, {0.0f, 0.75f, 1.25f, 100.0f, -100.0f, 3e38f});  // 1.5 and 2.5 steps: ties to even
  EXPECT_EQ(values(o), (std::vector<float>{0.0f, 1.0f, 1.0f, 2.0f, -1.5f, 2.0f}));
  EXPECT_EQ(o.symbols, (Bytes{3, 5, 5, 7, 0, 7}));

  code = {};
  code.kind = ElementCode::Kind::kTrits;
  o = one_row(coder(), code, {2.0f, -4.0f}, {1.0f, 1.5f, -2.0f, -2.5f});
  EXPECT_EQ(values(o), (std::vector<float>{0.0f, 2.0f, 0.0f, -4.0f}));
  EXPECT_EQ(o.symbols, (Bytes{1, 2, 1, 0}));

  code = {};
  code.kind = ElementCode::Kind::kSteps;
  code.largest = 3;
  const std::vector<float> w = {0.4f, 0.6f, -1.5f, 9.0f, -0.0f};
  o = one_row(coder(), code, {1.0f}, w);
  EXPECT_EQ(values(o), (std::vector<float>{0.0f, 1.0f, -2.0f, 3.0f, 0.0f}));
  EXPECT_EQ(o.symbols, (Bytes{0, 1, 6, 3, 0}));
  code.midrise = true;
  o = one_row(coder(), code, {1.0f}, w);
  EXPECT_EQ(values(o), (std::vector<float>{0.5f, 0.5f, -1.5f, 3.5f, 0.5f}));
  code.midrise = false;
  code.shifted = true;
  code.offset = 1.0f;
  o = one_row(coder(), code, {0.5f}, w);
  EXPECT_EQ(values(o), (std::vector<float>{1.0f, 1.0f, -1.5f, 2.5f, 1.0f}));
  o = one_row(coder(), code, {0.0f}, w);  // no step: one level only
  EXPECT_EQ(values(o), (std::vector<float>{1.0f, 1.0f, -1.0f, 1.0f, 1.0f}));
}

// An upper factor with a positive diagonal.
Matrix factor(int64_t k, uint64_t stream) {
  Matrix u = Matrix::zeros(k, k);
  Rng rng(seed(), stream);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = i; j < k; ++j)
      u(i, j) = static_cast<float>(i == j ? 0.5 + rng.uniform()
                                          : rng.normal() / (3 * std::sqrt(static_cast<double>(k))));  // errors must not grow
  return u;
}

// E as the header defines it, by double precision.
TEST_P(Coding, ErrorsMeanWhatTheySay) {
  constexpr int64_t kRows = 9, kCols = 45;
  Matrix w(kRows, kCols);
  fill_normal(w.view(), 1);
  ElementCode code;
  code.kind = ElementCode::Kind::kGrid;
  code.largest = 15;
  Fit f = whole(kRows, kCols, code, {});
  for (int64_t i = 0; i < kRows; ++i)
    f.parameters.insert(f.parameters.end(), {0.4f, 7.0f});
  f.bind(false, true);
  f.code.parameters = f.parameters;
  const auto columns = all_columns(kCols);
  const Matrix u = factor(kCols, 2);
  const auto coded = [&](Correction c) {
    return run(coder(), {{&f.code, 1}, columns, c, c == Correction::kNone ? WeightView() : u.view()}, w.view());
  };
  const Output none = coded(Correction::kNone), own = coded(Correction::kOwn), block = coded(Correction::kBlock),
               columnwise = coded(Correction::kColumnwise);
  EXPECT_TRUE(same_bits(none.decoded, own.decoded) && same_bits(none.decoded, block.decoded));
  EXPECT_FALSE(same_bits(none.decoded, columnwise.decoded));
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t j = 0; j < kCols; ++j) {
      EXPECT_FLOAT_EQ(own.error(i, j), (w(i, j) - own.decoded(i, j)) / u(j, j));
      double d = 0, moved = 0;  // E U, and what the columns before changed this one by
      for (int64_t c = 0; c <= j; ++c) {
        d += static_cast<double>(block.error(i, c)) * u(c, j);
        moved += static_cast<double>(columnwise.error(i, c)) * u(c, j);
      }
      EXPECT_NEAR(d, w(i, j) - block.decoded(i, j), 1e-4);
      EXPECT_NEAR(moved, w(i, j) - columnwise.decoded(i, j), 1e-4);
    }
  Matrix unit = Matrix::zeros(kCols, kCols);
  for (int64_t j = 0; j < kCols; ++j)
    unit(j, j) = 1;
  const Output alone = run(coder(), {{&f.code, 1}, columns, Correction::kColumnwise, unit.view()}, w.view());
  EXPECT_TRUE(same_bits(none.decoded, alone.decoded));
}

// A code of any kind with plausible parameters.
ElementCode random_code(ElementCode::Kind kind, Rng& rng) {
  ElementCode c;
  c.kind = kind;
  if (kind == ElementCode::Kind::kSigns) {
    c.planes = 1 + static_cast<int>(rng.below(4));
    c.keep_zero = rng.below(2) == 1;
    c.merged = rng.below(2) == 1;
    c.plain = c.planes == 1 && !c.keep_zero && rng.below(2) == 1;
  }
  if (kind == ElementCode::Kind::kGrid) c.largest = 7;
  if (kind == ElementCode::Kind::kSteps) {
    c.largest = static_cast<float>((1 << rng.below(8)) - 1);
    c.midrise = rng.below(2) == 1;
    c.shifted = !c.midrise && rng.below(2) == 1;
    c.offset = c.shifted ? 0.7f : 0.0f;
  }
  return c;
}
std::vector<float> random_parameters(const ElementCode& c, int64_t units, Rng& rng) {
  std::vector<float> out;
  for (int64_t u = 0; u < units; ++u)
    for (int p = 0; p < c.parameters_per_unit(); ++p)
      switch (c.kind) {
        case ElementCode::Kind::kSigns:
          out.push_back(static_cast<float>(p < c.planes ? rng.uniform() : c.plain ? 0.0 : 0.2 * rng.normal()));
          break;
        case ElementCode::Kind::kGrid:
          out.push_back(p == 0 ? static_cast<float>(0.1 + rng.uniform()) : static_cast<float>(rng.below(8)));
          break;
        case ElementCode::Kind::kTrits: out.push_back(static_cast<float>(p == 0 ? rng.uniform() : -rng.uniform())); break;
        default: out.push_back(static_cast<float>(rng.uniform()));
      }
  return out;
}

GroupMap random_groups(LabelShape shape, int64_t rows, int64_t cols, Rng& rng) {
  if (shape == LabelShape::kSingle) return GroupMap::single(rows, cols);
  return random_labels(shape, rows, cols, 1 + static_cast<int64_t>(rng.below(6)), 5, rng.below(1 << 20));
}

// Two slots of random codes, masks and groups over a matrix that is wider than the block; its columns in or out of order.
struct RandomBlock {
  std::vector<Fit> fits;
  std::vector<ElementCode> codes;
  std::vector<std::array<CodedColumn, 2>> columns;

  RandomBlock(int64_t rows, int64_t k, bool scattered, int round, Rng& rng) : fits(round % 3 == 2 ? 4 : 2) {
    using Kind = ElementCode::Kind;
    constexpr Kind kKinds[] = {Kind::kSigns, Kind::kPositive, Kind::kGrid, Kind::kTrits, Kind::kSteps};
    constexpr LabelShape kShapes[] = {LabelShape::kSingle, LabelShape::kRow, LabelShape::kColumn, LabelShape::kRowBlock,
                                      LabelShape::kElement};
    const int64_t width = k + 37;
    for (size_t n = 0; n < fits.size(); n += 2) {
      const int shape = round % 3;
      const BitMask bits = random_bits(shape == 0 ? rows : 1, width, 0.3, rng.below(1 << 20));
      const SaliencyMask mask = shape == 0   ? SaliencyMask::elements(bits)
                                : shape == 1 ? SaliencyMask::columns(rows, bits)
                                             : SaliencyMask::none(rows, width);
      for (size_t slot = 0; slot < 2; ++slot) {
        Fit& f = fits[n + slot];
        f.mask = mask;
        f.groups = random_groups(kShapes[rng.below(5)], rows, width, rng);
        f.code = random_code(kKinds[(static_cast<size_t>(round) + 2 * slot + n) % 5], rng);
        f.bind(slot == 1, rng.below(2) == 1);
        f.parameters = random_parameters(f.code, f.units->count(), rng);
        f.code.parameters = f.parameters;
      }
    }
    for (const Fit& f : fits)
      codes.push_back(f.code);
    for (int64_t c = 0; c < k; ++c) {
      const int fit = fits.size() == 4 && c >= k / 2 ? 2 : 0;
      const int64_t at = scattered ? (c * 17 + 5) % width : c + 11;
      columns.push_back({CodedColumn{fit, at}, CodedColumn{fit + 1, at}});
      if (round % 7 == 3) columns.back()[c % 2] = {};  // nobody codes half of the weights
    }
  }
};

TEST_P(Coding, BackendsAgreeToTheLastBit) {
  Rng rng(seed(), 77);
  int round = 0;
  for (const auto& [rows, k] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {7, 31}, {8, 32}, {9, 33}, {3, 128}, {17, 129}, {65, 64}, {2, 1024}, {5, 0}, {0, 5}})
    for (int repeat = 0; repeat < (k > 500 ? 3 : 7); ++repeat, ++round) {
      RandomBlock block(rows, k, repeat % 2 == 1, round, rng);
      Padded w(rows, k, 1 + repeat % 3);
      fill_hostile(w.view(), static_cast<uint64_t>(round));
      const Matrix u = factor(k, static_cast<uint64_t>(round) + 500);
      for (const Correction c : {Correction::kNone, Correction::kOwn, Correction::kBlock, Correction::kColumnwise}) {
        SCOPED_TRACE(testing::Message() << rows << " x " << k << ", round " << round << ", correction " << static_cast<int>(c));
        const BlockCoding coding{block.codes, block.columns, c, c == Correction::kNone ? WeightView() : u.view()};
        const Output mine = run(coder(), coding, w.view()), expected = run(*reference_->block_coder(), coding, w.view());
        for (int64_t i = 0; i < rows; ++i)
          for (int64_t j = 0; j < k; ++j)
            ASSERT_EQ(std::bit_cast<uint32_t>(mine.decoded(i, j)), std::bit_cast<uint32_t>(expected.decoded(i, j)))
                << i << ", " << j << ": " << w.view()(i, j) << " became " << mine.decoded(i, j) << ", not "
                << expected.decoded(i, j);
        ASSERT_EQ(mine.symbols, expected.symbols);
        ASSERT_TRUE(same_bits(mine.error, expected.error));
      }
    }
}

// Weights, decoded values and errors where the backend has them.
TEST_P(Coding, WorksInItsOwnMemory) {
  constexpr int64_t kRows = 19, kCols = 40;
  Rng rng(seed(), 5);
  RandomBlock block(kRows, kCols, false, 1, rng);
  Matrix w(kRows, kCols), decoded(kRows, kCols);
  fill_normal(w.view(), 3);
  const Matrix u = factor(kCols, 4);
  const BlockCoding coding{block.codes, block.columns, Correction::kColumnwise, u.view()};
  const Output expected = run(*reference_->block_coder(), coding, w.view());
  const BackendMatrix there(*backend_, kRows, kCols), error(*backend_, kRows, kCols);
  copy(*backend_, w.view(), there.view());
  std::vector<uint8_t> symbols(expected.symbols.size());
  coder().code_block(coding, there.view(), decoded.view(),
                     {symbols.data(), kRows, static_cast<int64_t>(symbols.size()) / kRows}, error.view());
  EXPECT_TRUE(same_bits(decoded, expected.decoded));
  EXPECT_TRUE(same_bits(to_host(*backend_, error.view()), expected.error));
  EXPECT_TRUE(same_bits(to_host(*backend_, there.view()), w));
  EXPECT_EQ(symbols, expected.symbols);
}

TEST_P(Coding, RefusesWhatDoesNotFit) {
  Rng rng(seed(), 6);
  RandomBlock block(4, 8, false, 0, rng);
  Matrix w(4, 8), decoded(4, 8), error(4, 8);
  fill_normal(w.view(), 1);
  const Matrix u = factor(8, 1);
  const BlockCoding good{block.codes, block.columns, Correction::kOwn, u.view()};
  std::vector<uint8_t> symbols(static_cast<size_t>(32 * planes_of(good)));
  const View<uint8_t> all(symbols.data(), 4, 8 * planes_of(good));
  coder().code_block(good, w.view(), decoded.view(), all, error.view());
  BlockCoding bad = good;
  bad.columns = std::span(block.columns).first(7);
  EXPECT_THROW(coder().code_block(bad, w.view(), decoded.view(), all, error.view()), Error);
  bad = good;
  bad.u = {};
  EXPECT_THROW(coder().code_block(bad, w.view(), decoded.view(), all, error.view()), Error);
  bad = good;
  auto columns = block.columns;
  columns[3][0].code = 9;
  bad.columns = columns;
  EXPECT_THROW(coder().code_block(bad, w.view(), decoded.view(), all, error.view()), Error);
  columns = block.columns;
  columns[3][0].column = 1000;
  EXPECT_THROW(coder().code_block(bad, w.view(), decoded.view(), all, error.view()), Error);
  bad = good;
  auto codes = block.codes;
  codes[0].parameters = codes[0].parameters.first(0);
  bad.codes = codes;
  EXPECT_THROW(coder().code_block(bad, w.view(), decoded.view(), all, error.view()), Error);
  EXPECT_THROW(coder().code_block(good, w.view(), decoded.view(), {symbols.data(), 4, 7}, error.view()), Error);
}

TEST(CodingOnTheCpu, IsLeftToTheQuantizers) { EXPECT_EQ(make_cpu_backend()->block_coder(), nullptr); }

}  // namespace
}  // namespace sage::test
