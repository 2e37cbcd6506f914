// Residual binarization against the released code of BiLLM (data/baselines/functions.h5), closed forms and what must hold for
// any weights.
#include "strategies/quantizer/residual_binary.h"

#include <set>

#include "strategies/quantizer/binary.h"
#include "tests/strategies_b/support.h"
#include "tests/support/h5_fixture.h"

namespace sage {
namespace {

using test::code;
using test::code_all;
using test::H5Fixture;

Matrix row(std::initializer_list<float> values) {
  Matrix m(1, static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), m.data());
  return m;
}

SaliencyMask mask_of(const Matrix& flags) {
  BitMask bits(flags.rows(), flags.cols());
  for (int64_t i = 0; i < flags.rows(); ++i)
    for (int64_t j = 0; j < flags.cols(); ++j)
      if (flags(i, j) != 0) bits.set(i, j);
  return SaliencyMask::elements(std::move(bits));
}

TEST(ResidualBinaryReference, EveryCaseOfTheReleasedFunction) {
  const H5Fixture file("baselines/functions.h5");
  const std::string folder = "residual_binarization/";
  int cases = 0;
  for (const std::string& name : file.children(folder + "S")) {
    const std::string path = folder + "S/" + name;
    const Matrix x = file.matrix(folder + "X/" + file.attribute<std::string>(path, "x"));
    const SaliencyMask mask = mask_of(file.matrix(folder + "M/" + file.attribute<std::string>(path, "mask")));
    const std::vector<int64_t> ok = file.integers(path + "/row_ok");
    for (int order = 1; order <= 3; ++order) {
      const Matrix sums = file.matrix(path + "/order" + std::to_string(order));
      for (bool merge : {false, true}) {
        SCOPED_TRACE(name + " order " + std::to_string(order));
        const test::Coded c = code(ResidualBinary({order, true, merge, true}), x.view(), mask, true,
                                   GroupMap::single(x.rows(), x.cols()), 0, Numerics::kReference);
        for (int64_t i = 0; i < x.rows(); ++i) {
          if (ok[static_cast<size_t>(i)] == 0) continue;
          const float* expected = sums.row(i);
          float largest = 0;
          for (int64_t j = 0; j < x.cols(); ++j)
            largest = std::max(largest, std::abs(expected[j]));
          for (int64_t j = 0; j < x.cols(); ++j) {
            const float got = mask.test(i, j) ? c.decoded(i, j) : 0.0f;
            ASSERT_NEAR(got, expected[j], 5e-5f * largest) << i << " " << j;
          }
        }
        ++cases;
      }
    }
  }
  EXPECT_EQ(cases, 20 * 3 * 2);
}

TEST(ResidualBinary, ClosedForm) {
  // Mean 1, mean distance 2: levels -1 and 3, what is left +-1 around 0.
  const Matrix w = row({-2, 0, 2, 4});
  const test::Coded one = code_all(ResidualBinary({1, true, true, false}), w.view());
  EXPECT_EQ(one.squared_error, 4);
  EXPECT_EQ(one.planes.number_planes().at("residual_scales").values, std::vector<float>{2});
  EXPECT_EQ(one.planes.number_planes().at("residual_means").values, std::vector<float>{1});
  EXPECT_EQ(one.planes.symbol_planes().at("residual_signs_1").symbols, (std::vector<uint8_t>{1, 1, 0, 0}));
  for (bool merge : {true, false}) {
    const test::Coded two = code_all(ResidualBinary({2, true, merge, false}), w.view());
    EXPECT_EQ(two.squared_error, 0);
    EXPECT_EQ(two.planes.number_planes().at("residual_scales").values, (std::vector<float>{2, 1}));
    EXPECT_EQ(two.planes.number_planes().at("residual_means").values,
              merge ? std::vector<float>{1} : (std::vector<float>{1, 0}));
    EXPECT_EQ(two.planes.symbol_planes().at("residual_signs_2").symbols, (std::vector<uint8_t>{1, 0, 1, 0}));
    EXPECT_EQ(two.planes.symbol_planes().at("residual_signs_2").role, Role::kSign);
  }
  // Without a mean: levels -2 and 2 (0 counts as positive), left 0, -2, 0, 2, then +-1.
  const test::Coded plain = code_all(ResidualBinary({2, false, true, false}), w.view());
  EXPECT_EQ(plain.decoded(0, 0), -1);
  EXPECT_EQ(plain.decoded(0, 1), 1);
  EXPECT_EQ(plain.decoded(0, 3), 3);
  EXPECT_EQ(plain.planes.number_planes().count("residual_means"), 0u);
}

// Order 1 is what `binary` does with a scale for every row and group.
TEST(ResidualBinary, OrderOneIsBinaryPerRowAndGroup) {
  const Matrix w = test::make_random("t10+s", 50, 170, 8);
  const SaliencyMask mask = test::largest(w.view(), .05);
  const GroupMap groups = test::make_groups(LabelShape::kElement, 50, 170, 3);
  for (bool mean : {true, false}) {
    const test::Coded a = code(ResidualBinary({1, mean, true, false}), w.view(), mask, false, groups, 0, Numerics::kReference),
                      b = code(Binary({BinaryScale::kRowGroup, mean, 4}), w.view(), mask, false, groups, 0,
                               Numerics::kReference);
    for (int64_t k = 0; k < w.size(); ++k)
      ASSERT_FLOAT_EQ(a.decoded.data()[k], b.decoded.data()[k]);
  }
}

TEST(ResidualBinary, ZeroIsPositiveOrAThirdSymbol) {
  const Matrix w = row({-1, 0, 1});
  const test::Coded two = code_all(ResidualBinary({1, true, true, false}), w.view(), Numerics::kReference),
                    three = code_all(ResidualBinary({1, true, true, true}), w.view(), Numerics::kReference);
  EXPECT_FLOAT_EQ(two.decoded(0, 1), 2.0f / 3);
  EXPECT_EQ(two.planes.symbol_planes().at("residual_signs_1").alphabet, 2);
  EXPECT_EQ(three.decoded(0, 1), 0);
  EXPECT_EQ(three.planes.symbol_planes().at("residual_signs_1").alphabet, 3);
}

TEST(ResidualBinary, WeightsThatMovedTakeTheSignsOfWhatIsLeft) {
  const Matrix w = row({-3, -1, 1, 3}), moved = row({.1f, -2.2f, 10, 1});
  const SaliencyMask none = SaliencyMask::none(1, 4);
  const GroupMap one = GroupMap::single(1, 4);
  for (bool merge : {true, false}) {
    const ResidualBinary q({2, true, merge, false});
    const auto fitted = q.fit(test::context(w.view()), {&none, false}, one, 0);
    Matrix out(1, 4), decoded(1, 4);
    fitted->start_coding();
    for (int64_t j = 0; j < 4; ++j)
      fitted->encode(moved.view().columns(j, j + 1), 0, j, out.view().columns(j, j + 1));
    const float expected[] = {1, -3, 3, 1};
    for (int64_t j = 0; j < 4; ++j)
      EXPECT_EQ(out(0, j), expected[j]);
    PlaneWriter planes(Numerics::kPacked);
    fitted->emit(planes);
    PlaneReader reader = test::reader_of(planes);
    q.decode(reader, {&none, false}, one, decoded.view());
    EXPECT_EQ(std::memcmp(out.data(), decoded.data(), 4 * sizeof(float)), 0);
  }
}

// One block of BiLLM: two groups of unsalient weights at order 1, whole salient columns at order 2.
struct BillmBlock {
  Matrix w = test::make_random("t5", 40, 128, 6);
  SaliencyMask mask;
  GroupMap groups = GroupMap::single(40, 128);
  BillmBlock() : mask(SaliencyMask::none(40, 128)) {
    BitMask flags(1, 128);
    for (int64_t j : {3, 50, 51, 99, 127})
      flags.set(0, j);
    mask = SaliencyMask::columns(40, flags);
    groups.shape = LabelShape::kElement;
    groups.groups = 2;
    for (int64_t k = 0; k < w.size(); ++k)
      groups.element.push_back(std::abs(w.data()[k]) < .8f ? 0 : 1);
  }
};

TEST(ResidualBinary, LevelsOfABlock) {
  const BillmBlock b;
  for (Numerics numerics : {Numerics::kReference, Numerics::kPacked}) {
    const test::Coded low = code(ResidualBinary({1, true, true, false}), b.w.view(), b.mask, false, b.groups, 0, numerics),
                      high = code(ResidualBinary({2, true, true, false}), b.w.view(), b.mask, true, GroupMap::single(40, 128),
                                  0, numerics);
    for (int64_t i = 0; i < 40; ++i) {
      std::set<float> levels[3];
      for (int64_t j = 0; j < 128; ++j) {
        const bool salient = b.mask.test(i, j);
        const float mine = (salient ? high : low).decoded(i, j), other = (salient ? low : high).decoded(i, j);
        ASSERT_NE(mine, test::kUntouched);  // both together cover the block, each weight once
        ASSERT_EQ(other, test::kUntouched);
        levels[salient ? 2 : b.groups.at(i, j)].insert(mine);
      }
      EXPECT_LE(levels[0].size(), 2u);
      EXPECT_LE(levels[1].size(), 2u);
      EXPECT_LE(levels[2].size(), 4u);
    }
  }
}

TEST(ResidualBinary, SevenNumbersForARowOfABlock) {
  const BillmBlock b;
  const auto numbers = [&](bool merge) {
    const Selection low{&b.mask, false}, high{&b.mask, true};
    const GroupMap one = GroupMap::single(40, 128);
    return ResidualBinary({1, true, merge, false}).fit(test::context(b.w.view()), low, b.groups, 0)->number_count() +
           ResidualBinary({2, true, merge, false}).fit(test::context(b.w.view()), high, one, 0)->number_count();
  };
  EXPECT_EQ(numbers(true), 7 * 40);
  EXPECT_EQ(numbers(false), 8 * 40);
}

TEST(ResidualBinary, PaperCountIsTheOrder) {
  const BillmBlock b;
  const PaperCount high =
      code(ResidualBinary({2, true, true, false}), b.w.view(), b.mask, true, GroupMap::single(40, 128)).paper;
  EXPECT_EQ(high.weight_bits, 2.0 * 5 * 40);
  EXPECT_EQ(high.scale_words, 0);
}

TEST(ResidualBinary, MoreOrdersLeaveLess) {
  for (const char* law : {"gauss", "t5", "t10+s"})
    for (bool mean : {true, false}) {
      const Matrix w = test::make_random(law, 60, 200, 12);
      double before = test::energy(w.view());
      for (int order = 1; order <= ResidualBinary::kMaxOrder; ++order) {
        const double e = code_all(ResidualBinary({order, mean, false, false}), w.view(), Numerics::kReference).squared_error;
        EXPECT_LT(e, before);
        before = e;
      }
    }
  // Order 1 of a normal law around its mean: 1 - 2 / pi (a row of 4096 takes 2 / 4096 off).
  const Matrix w = test::make_random("gauss", 64, 4096, 13);
  EXPECT_NEAR(code_all(ResidualBinary({1, true, true, false}), w.view()).squared_error / test::energy(w.view()), 1 - 2 / M_PI,
              .004);
}

TEST(ResidualBinary, MergedMeansAreTheSum) {
  const Matrix w = test::make_random("t5", 20, 130, 3);
  for (int order : {2, 4}) {
    const test::Coded merged = code_all(ResidualBinary({order, true, true, false}), w.view(), Numerics::kReference),
                      apart = code_all(ResidualBinary({order, true, false, false}), w.view(), Numerics::kReference);
    for (int64_t k = 0; k < w.size(); ++k)
      ASSERT_NEAR(merged.decoded.data()[k], apart.decoded.data()[k], 2e-6);
    for (int o = 1; o <= order; ++o) {
      const std::string plane = "residual_signs_" + std::to_string(o);
      EXPECT_EQ(merged.planes.symbol_planes().at(plane).symbols, apart.planes.symbol_planes().at(plane).symbols);
    }
  }
}

}  // namespace
}  // namespace sage
