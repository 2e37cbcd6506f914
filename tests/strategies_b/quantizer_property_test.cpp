#include <omp.h>

#include "core/util/errors.h"
#include "strategies/quantizer/binary.h"
#include "strategies/quantizer/keep.h"
#include "strategies/quantizer/multibit.h"
#include "strategies/quantizer/pb_binary.h"
#include "strategies/quantizer/prune.h"
#include "strategies/quantizer/residual_binary.h"
#include "strategies/quantizer/uniform.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

using test::code;

struct Named {
  std::string name;
  std::unique_ptr<Quantizer> quantizer;
};

std::vector<Named> quantizers() {
  std::vector<Named> out;
  for (int bits : {2, 4, 8})
    for (MultibitGrid grid : {MultibitGrid::kMidrise, MultibitGrid::kMidtread, MultibitGrid::kOffset})
      out.push_back({"multibit " + std::to_string(bits) + " " + std::to_string(static_cast<int>(grid)),
                     std::make_unique<Multibit>(Multibit::Params{bits, grid})});
  for (BinaryScale scale : {BinaryScale::kGroup, BinaryScale::kRow, BinaryScale::kRowGroup, BinaryScale::kRank1})
    for (bool shift : {false, true})
      if (!(shift && scale == BinaryScale::kRank1))
        out.push_back({"binary " + std::to_string(static_cast<int>(scale)) + (shift ? " shifted" : ""),
                       std::make_unique<Binary>(Binary::Params{scale, shift, 4})});
  for (int bits : {1, 3, 8})
    for (int64_t group : {0, 5, 64, 128})
      for (bool symmetric : {false, true})
        out.push_back({"uniform " + std::to_string(bits) + " g" + std::to_string(group) + (symmetric ? " symmetric" : ""),
                       std::make_unique<Uniform>(Uniform::Params{bits, group, symmetric, false})});
  const auto uniform = [&](const char* name, auto set) {
    Uniform::Params p;
    p.bits = 3;
    set(p);
    out.push_back({std::string("uniform ") + name, std::make_unique<Uniform>(p)});
  };
  uniform("mse", [](auto& p) { p.mse = true; });
  uniform("mse g64", [](auto& p) { p.mse = true, p.group_size = 64; });
  uniform("trits", [](auto& p) { p.trits = true; });
  uniform("trits g5 symmetric", [](auto& p) { p.trits = p.symmetric = true, p.group_size = 5; });
  uniform("all", [](auto& p) { p.range = UniformRange::kAll; });
  uniform("all mse", [](auto& p) { p.range = UniformRange::kAll, p.mse = true; });
  uniform("pb zeros", [](auto& p) { p.pb_zero_group = 128; });
  for (int order : {1, 2, 4})
    for (bool merge : {true, false})
      for (bool zero : {false, true})
        out.push_back({"residual " + std::to_string(order) + (merge ? " merged" : "") + (zero ? " zero" : ""),
                       std::make_unique<ResidualBinary>(ResidualBinary::Params{order, true, merge, zero})});
  out.push_back({"residual 2 no mean", std::make_unique<ResidualBinary>(ResidualBinary::Params{2, false, true, false})});
  for (PbMethod method : {PbMethod::kXnor, PbMethod::kSign})
    for (PbDivisor divisor : {PbDivisor::kAll, PbDivisor::kOwned})
      for (bool zero : {false, true})
        out.push_back({std::string(method == PbMethod::kXnor ? "xnor" : "sign") +
                           (divisor == PbDivisor::kAll ? " all" : " owned") + (zero ? " zero" : ""),
                       std::make_unique<PbBinary>(PbBinary::Params{method, divisor, zero})});
  out.push_back({"prune", std::make_unique<Prune>(Prune::Params{})});
  out.push_back({"keep", std::make_unique<Keep>(Keep::Params{})});
  return out;
}

// Every quantizer, on odd shapes, with masks of every shape and group maps of every shape: what decode rebuilds is what
// encode wrote, whole or column by column in any order, and the error is the one reported (all checked by code()).
TEST(QuantizerProperty, RoundTripOfEveryShape) {
  const std::vector<Named> all = quantizers();
  uint64_t seed = 0;
  for (const auto& [rows, cols] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {1, 37}, {29, 1}, {7, 63}, {5, 64}, {6, 65}, {3, 576}}) {
    const Matrix w = test::make_random("t5", rows, cols, ++seed);
    BitMask flags(1, cols);
    for (int64_t j = 0; j < cols; j += 3)
      flags.set(0, j);
    BitMask sparse = test::random_bits(rows, cols, .1, seed);
    for (int64_t j = 0; j < cols; ++j)
      sparse.reset(0, j);  // a row that owns nothing
    const std::vector<SaliencyMask> masks = {
        SaliencyMask::none(rows, cols), SaliencyMask::columns(rows, flags), SaliencyMask::elements(sparse),
        SaliencyMask::elements(test::random_bits(rows, cols, .6, seed)), SaliencyMask::elements(BitMask(rows, cols))};
    for (const SaliencyMask& mask : masks)
      for (bool salient : {false, true})
        for (LabelShape shape :
             {LabelShape::kSingle, LabelShape::kRow, LabelShape::kColumn, LabelShape::kRowBlock, LabelShape::kElement}) {
          const GroupMap groups = test::make_groups(shape, rows, cols, 4);
          for (const Named& q : all) {
            SCOPED_TRACE(q.name + " " + std::to_string(rows) + "x" + std::to_string(cols));
            const bool uses_groups = q.name.rfind("binary", 0) == 0 || q.name.rfind("residual", 0) == 0;
            if (!uses_groups && shape != LabelShape::kSingle) continue;
            const test::Coded whole = code(*q.quantizer, w.view(), mask, salient, groups, .5);
            const test::Coded shuffled =
                code(*q.quantizer, w.view(), mask, salient, groups, .5, Numerics::kPacked, test::Order::kShuffled);
            ASSERT_EQ(std::memcmp(whole.decoded.data(), shuffled.decoded.data(), sizeof(float) * static_cast<size_t>(w.size())),
                      0);
            if (shape != LabelShape::kSingle && shape != LabelShape::kElement) continue;  // threads are slow to start
            const test::Coded rows =
                code(*q.quantizer, w.view(), mask, salient, groups, .5, Numerics::kPacked, test::Order::kRows);
            ASSERT_EQ(std::memcmp(whole.decoded.data(), rows.decoded.data(), sizeof(float) * static_cast<size_t>(w.size())), 0);
            if (testing::Test::HasFailure()) return;
          }
        }
  }
}

TEST(QuantizerProperty, BlocksOfOnePlaneAreReadBackInOrder) {
  const Matrix w = test::make_random("gauss", 9, 130, 4);
  for (const Named& q : quantizers()) {
    SCOPED_TRACE(q.name);
    PlaneWriter writer(Numerics::kPacked);
    Matrix encoded(9, 130), decoded(9, 130);
    std::vector<SaliencyMask> masks;
    for (int64_t first = 0; first < 130; first += 50) {
      const int64_t last = std::min<int64_t>(first + 50, 130);
      masks.push_back(SaliencyMask::elements(test::random_bits(9, last - first, .2, static_cast<uint64_t>(first))));
      const GroupMap one = GroupMap::single(9, last - first);
      const auto fitted = q.quantizer->fit(test::context(w.view().columns(first, last)), {&masks.back(), false}, one, .5);
      fitted->start_coding();
      fitted->encode(w.view().columns(first, last), 0, 0, encoded.view().columns(first, last));
      fitted->emit(writer);
    }
    PlaneReader reader = test::reader_of(writer);
    for (size_t b = 0; b < masks.size(); ++b) {
      const int64_t first = static_cast<int64_t>(b) * 50;
      q.quantizer->decode(reader, {&masks[b], false}, GroupMap::single(9, masks[b].cols()),
                          decoded.view().columns(first, first + masks[b].cols()));
      for (int64_t i = 0; i < 9; ++i)
        for (int64_t j = 0; j < masks[b].cols(); ++j)
          if (!masks[b].test(i, j)) {
            ASSERT_EQ(encoded(i, first + j), decoded(i, first + j));
          }
    }
    EXPECT_NO_THROW(reader.expect_consumed());
  }
}

TEST(QuantizerProperty, SameResultForOneAndTwoThreads) {
  const Matrix w = test::make_random("t10+s", 64, 400, 8);
  const SaliencyMask mask = test::largest(w.view(), .05);
  const GroupMap groups = test::make_groups(LabelShape::kElement, 64, 400, 5);
  const int before = omp_get_max_threads();
  for (const Named& q : quantizers()) {
    SCOPED_TRACE(q.name);
    omp_set_num_threads(1);
    const test::Coded one = code(*q.quantizer, w.view(), mask, false, groups, .5);
    omp_set_num_threads(2);
    const test::Coded two = code(*q.quantizer, w.view(), mask, false, groups, .5);
    EXPECT_EQ(one.reported, two.reported);
    for (const auto& [name, p] : one.planes.symbol_planes())
      EXPECT_EQ(p.symbols, two.planes.symbol_planes().at(name).symbols);
    for (const auto& [name, p] : one.planes.number_planes())
      EXPECT_EQ(p.values, two.planes.number_planes().at(name).values);
  }
  omp_set_num_threads(before);
}

TEST(QuantizerProperty, ScalingTheWeightsScalesTheParameters) {
  const Matrix w = test::make_random("t5", 40, 200, 11);
  Matrix v = Matrix::copy(w.view());
  for (int64_t k = 0; k < v.size(); ++k)
    v.data()[k] *= 4;
  double t = 0;
  const SaliencyMask mask = test::largest(w.view(), .1, &t);
  const GroupMap groups = test::make_groups(LabelShape::kElement, 40, 200, 3);
  for (const Named& q : quantizers())
    for (Numerics numerics : {Numerics::kReference, Numerics::kPacked}) {
      SCOPED_TRACE(q.name);
      // Means of later orders lie near 0, where halves are subnormal and rounding does not scale.
      const bool later_means = q.name.rfind("residual", 0) == 0 && q.name.rfind("residual 1", 0) != 0;
      if (later_means && numerics == Numerics::kPacked) continue;
      const test::Coded a = code(*q.quantizer, w.view(), mask, true, groups, t, numerics),
                        b = code(*q.quantizer, v.view(), mask, true, groups, 4 * t, numerics);
      EXPECT_NEAR(b.squared_error, 16 * a.squared_error, 1e-9 * b.squared_error + 1e-12);
      for (const auto& [name, p] : a.planes.symbol_planes())
        EXPECT_EQ(p.symbols, b.planes.symbol_planes().at(name).symbols);
      const std::string rank1 = "binary 3";
      if (q.name == rank1) continue;  // beta keeps its scale
      for (const auto& [name, p] : a.planes.number_planes())
        for (size_t k = 0; k < p.values.size() && name != "uniform_zero_numbers"; ++k)
          EXPECT_FLOAT_EQ(b.planes.number_planes().at(name).values[k], 4 * p.values[k]);
    }
}

TEST(Multibit, SquaredErrorNeverRises) {
  Rng rng(17, "fit");
  for (int trial = 0; trial < 300; ++trial)
    for (MultibitGrid grid : {MultibitGrid::kMidrise, MultibitGrid::kMidtread, MultibitGrid::kOffset})
      for (int levels : {2, 4, 8, 128}) {
        std::vector<double> x(1 + rng.below(60));
        for (double& v : x)
          v = std::abs(rng.normal()) * (rng.uniform() < .1 ? 6 : 1);
        std::vector<std::vector<double>> paths;
        const StepFit fit = fit_step(x, grid, levels, Numerics::kReference, &paths);
        ASSERT_EQ(paths.size(), 3u);
        double least = INFINITY;
        for (const std::vector<double>& path : paths) {
          for (size_t k = 1; k < path.size(); ++k)
            ASSERT_LE(path[k], path[k - 1] * (1 + 1e-12) + 1e-15);
          least = std::min(least, path.back());
        }
        ASSERT_NEAR(fit.squared_error, least, 1e-5 * least + 1e-9);
      }
}

TEST(Multibit, ReachesTheBestStepOfAGridSearch) {
  // Four magnitudes, so that the optimum can be found by trying every step.
  const std::vector<double> x = {.9, 1.1, 2.6, 3.4, .2};
  for (MultibitGrid grid : {MultibitGrid::kMidrise, MultibitGrid::kMidtread}) {
    double best = INFINITY;
    const double half = grid == MultibitGrid::kMidrise ? .5 : 0;
    for (double s = 1e-3; s < 4; s += 1e-3) {
      double e = 0;
      for (double v : x) {
        double least = INFINITY;
        for (int j = 0; j < 4; ++j)
          least = std::min(least, (v - s * (j + half)) * (v - s * (j + half)));
        e += least;
      }
      best = std::min(best, e);
    }
    EXPECT_NEAR(fit_step(x, grid, 4, Numerics::kReference).squared_error, best, .02 * best + 1e-6);
  }
}

TEST(Multibit, ExactOnItsOwnLevels) {
  Matrix w(1, 8);
  for (int j = 0; j < 8; ++j)
    w(0, j) = (j % 2 == 0 ? 1.0f : -1.0f) * 0.25f * (static_cast<float>(j) + 0.5f);
  EXPECT_EQ(test::code_all(Multibit({4, MultibitGrid::kMidrise}), w.view()).squared_error, 0);
  for (int j = 0; j < 8; ++j)
    w(0, j) = (j % 2 == 0 ? 1.0f : -1.0f) * 0.25f * static_cast<float>(j);
  EXPECT_EQ(test::code_all(Multibit({4, MultibitGrid::kMidtread}), w.view()).squared_error, 0);
}

TEST(Multibit, OffsetGridStartsAtTheThreshold) {
  Matrix w(1, 6);
  const float values[] = {1.5f, -1.5f, 2.0f, -2.5f, 3.0f, 1.5f};
  std::copy_n(values, 6, w.data());
  const SaliencyMask none = SaliencyMask::none(1, 6);
  const test::Coded c = code(Multibit({3, MultibitGrid::kOffset}), w.view(), none, false, GroupMap::single(1, 6), 1.5);
  EXPECT_EQ(c.squared_error, 0);
  EXPECT_EQ(c.planes.number_planes().at("multibit_offset").values, std::vector<float>{1.5f});
  EXPECT_EQ(c.planes.number_planes().at("multibit_offset").role, Role::kOffset);
}

TEST(Binary, ZeroIsPositive) {
  Matrix w(1, 4);
  w(0, 0) = 0;
  w(0, 1) = -0.0f;
  w(0, 2) = 2;
  w(0, 3) = -2;
  const test::Coded c = test::code_all(Binary({}), w.view());
  EXPECT_EQ(c.decoded(0, 0), 1);
  EXPECT_EQ(c.decoded(0, 1), 1);
  EXPECT_EQ(c.decoded(0, 3), -1);
}

TEST(Binary, FinerScalesNeverHurt) {
  const Matrix w = test::make_random("t10+s", 120, 300, 21);
  const GroupMap groups = test::make_groups(LabelShape::kElement, 120, 300, 4);
  const auto error = [&](BinaryScale s, bool shift) {
    return test::code_all(Binary({s, shift, 8}), w.view(), Numerics::kReference, &groups).squared_error;
  };
  EXPECT_LT(error(BinaryScale::kRowGroup, false), error(BinaryScale::kRow, false));
  EXPECT_LT(error(BinaryScale::kRowGroup, false), error(BinaryScale::kGroup, false));
  EXPECT_LT(error(BinaryScale::kRank1, false), error(BinaryScale::kRow, false));
}

TEST(Binary, Rank1IsExactOnARank1Magnitude) {
  Matrix w(20, 30);
  Rng rng(2, "rank1");
  for (int64_t i = 0; i < 20; ++i)
    for (int64_t j = 0; j < 30; ++j)
      w(i, j) = static_cast<float>((1 + static_cast<double>(i)) * (2 + std::sin(static_cast<double>(j))) *
                                   (rng.uniform() < .5 ? -1 : 1));
  EXPECT_LT(test::code_all(Binary({BinaryScale::kRank1, false, 8}), w.view(), Numerics::kReference).squared_error /
                test::energy(w.view()),
            1e-12);
  for (int64_t j = 0; j < 30; ++j)
    w(4, j) = 0;  // a row and a column of zeros
  for (int64_t i = 0; i < 20; ++i)
    w(i, 7) = 0;
  const test::Coded c = test::code_all(Binary({BinaryScale::kRank1, false, 8}), w.view(), Numerics::kReference);
  EXPECT_LT(c.squared_error / test::energy(w.view()), 1e-12);
}

TEST(Binary, Rank1WithMeanShiftIsRefused) { EXPECT_THROW(Binary({BinaryScale::kRank1, true, 8}), UserError); }

TEST(Binary, MoreScalesThanWeightsAreRefused) {
  const Matrix w = test::make_random("gauss", 64, 300, 1);
  GroupMap g = GroupMap::single(64, 300);
  g.shape = LabelShape::kRowBlock;
  g.block = 1;
  g.groups = 64 * 300;
  for (int64_t k = 0; k < g.groups; ++k)
    g.label.push_back(static_cast<uint32_t>(k));
  EXPECT_THROW(test::code_all(Binary({BinaryScale::kRowGroup, false, 8}), w.view(), Numerics::kPacked, &g), RunError);
}

TEST(Quantizers, WeightsThatAreNotFiniteAreRefused) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix w = test::make_random("gauss", 4, 10, 1);
    w(2, 3) = bad;
    const SaliencyMask none = SaliencyMask::none(4, 10);
    for (const Named& q : quantizers()) {
      SCOPED_TRACE(q.name);
      const GroupMap one = GroupMap::single(4, 10);
      EXPECT_THROW(q.quantizer->fit(test::context(w.view()), {&none, false}, one, .5), Error);
    }
  }
}

TEST(Quantizers, ExtremeMagnitudesStayFinite) {
  for (float scale : {1e-12f, 1e-6f, 1e6f}) {
    Matrix w = test::make_random("gauss", 6, 40, 2);
    for (int64_t k = 0; k < w.size(); ++k)
      w.data()[k] *= scale;
    for (const Named& q : quantizers()) {
      SCOPED_TRACE(q.name);
      const SaliencyMask none = SaliencyMask::none(6, 40);
      const GroupMap one = GroupMap::single(6, 40);
      const auto fitted = q.quantizer->fit(test::context(w.view()), {&none, false}, one, 0);
      Matrix out(6, 40);
      fitted->start_coding();
      fitted->encode(w.view(), 0, 0, out.view());
      for (int64_t k = 0; k < out.size(); ++k)
        ASSERT_TRUE(std::isfinite(out.data()[k]));
    }
  }
}

TEST(Uniform, CountsScalesOnlyWhenAsked) {
  const Matrix w = test::make_random("gauss", 8, 576, 2);
  const PaperCount without = test::code_all(Uniform({2, 128, false, false}), w.view()).paper,
                   with = test::code_all(Uniform({2, 128, false, true}), w.view()).paper;
  EXPECT_EQ(without.weight_bits, 2.0 * 8 * 576);
  EXPECT_EQ(without.scale_words, 0);
  EXPECT_EQ(with.scale_words, 8 * 5);  // 576 = 4 * 128 + 64
}

TEST(Uniform, StoresItsZeroPointsInTheirOwnWidth) {
  const Matrix w = test::make_random("gauss", 8, 576, 2);
  const test::Coded c = test::code_all(Uniform({3, 128, false, false}), w.view());
  const SymbolPlane& zeros = c.planes.symbol_planes().at("uniform_zeros");
  EXPECT_EQ(zeros.alphabet, 8);
  EXPECT_EQ(zeros.symbols.size(), 40u);
  EXPECT_EQ(zeros.role, Role::kOffset);
  EXPECT_EQ(test::code_all(Uniform({3, 128, true, false}), w.view()).planes.symbol_planes().count("uniform_zeros"), 0u);
}

TEST(Quantizers, DamagedPlanesAreRefused) {
  const Matrix w = test::make_random("gauss", 5, 70, 6);
  const SaliencyMask none = SaliencyMask::none(5, 70);
  const GroupMap one = GroupMap::single(5, 70);
  for (const Named& q : quantizers()) {
    SCOPED_TRACE(q.name);
    const test::Coded c = code(*q.quantizer, w.view(), none, false, one, .5);
    Matrix out(5, 70);
    PlaneReader empty({}, {}, {}, "test");
    auto symbols = c.planes.symbol_planes();
    auto numbers = c.planes.number_planes();
    if (symbols.empty() && numbers.empty()) continue;  // nothing stored, nothing to damage
    EXPECT_THROW(q.quantizer->decode(empty, {&none, false}, one, out.view()), ResourceError);
    for (auto& [name, plane] : symbols) {
      const uint8_t last = plane.symbols.back();
      plane.symbols.pop_back();
      PlaneReader shorter(symbols, c.planes.number_planes(), c.planes.integers(), "test");
      EXPECT_THROW(q.quantizer->decode(shorter, {&none, false}, one, out.view()), ResourceError) << name;
      plane.symbols.push_back(last);
    }
    numbers.begin()->second.values.pop_back();
    PlaneReader fewer(c.planes.symbol_planes(), numbers, c.planes.integers(), "test");
    EXPECT_THROW(q.quantizer->decode(fewer, {&none, false}, one, out.view()), ResourceError);
  }
}

}  // namespace
}  // namespace sage
