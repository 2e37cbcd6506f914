#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/util/errors.h"
#include "strategies/saliency/columns.h"
#include "strategies/saliency/magnitude.h"
#include "strategies/saliency/none.h"
#include "strategies/saliency/random.h"
#include "strategies/saliency/sigma.h"
#include "tests/strategies_a/support.h"

namespace sage::test {
namespace {

const Cut kOnePercent{Cut::Unit::kRatio, 0.01};

TEST(SigmaSaliency, FixtureThresholds) {
  const struct {
    Matrix (*make)(int);
    double threshold;
    int64_t salient;
  } cases[] = {{fixture_normal, 2.57579, 10486}, {fixture_laplace, 3.25626, 10486}};
  for (const auto& c : cases) {
    Block block(c.make(20));
    const auto scores = SigmaSaliency({}).score(block.ctx());
    EXPECT_NEAR(scores->threshold(kOnePercent), c.threshold, 2e-5);
    EXPECT_EQ(scores->select(kOnePercent).count(), c.salient);
  }
}

// t = 2.5758, 2.1701 and 1.6449 sigma leave 1, 3 and 10 % of a normal matrix.
TEST(SigmaSaliency, CutsBySigmasAndByShareAgreeOnNormalWeights) {
  Block block(fixture_normal());
  const auto scores = SigmaSaliency({}).score(block.ctx());
  const double cuts[][2] = {{2.5758, 0.01}, {2.1701, 0.03}, {1.6449, 0.10}};
  for (const auto& [t, r] : cuts) {
    EXPECT_NEAR(scores->threshold({Cut::Unit::kRatio, r}), t, 2e-4);
    EXPECT_NEAR(scores->threshold({Cut::Unit::kSigmas, t}), t, 2e-4);
    EXPECT_NEAR(scores->select({Cut::Unit::kSigmas, t}).ratio(), r, 2e-5);
  }
}

TEST(SigmaSaliency, MatchesTheDefinitionElementByElement) {
  Matrix w = make_random("t5", 37, 71, 3);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] += 0.4f;
  Block block(Matrix::copy(w.view()));
  for (const bool centered : {true, false}) {
    const SigmaSaliency filter({centered ? SigmaSaliency::Center::kMatrix : SigmaSaliency::Center::kZero});
    double mean = 0;
    for (int64_t k = 0; k < w.size(); ++k)
      mean += w.data()[k];
    const float mu = centered ? static_cast<float>(mean / static_cast<double>(w.size())) : 0.0f;
    std::vector<float> deviation;
    for (int64_t k = 0; k < w.size(); ++k)
      deviation.push_back(std::abs(w.data()[k] - mu));
    for (const double r : {0.003, 0.05, 0.5, 1.0}) {
      std::vector<float> sorted = deviation;
      std::sort(sorted.begin(), sorted.end());
      const float cut = sorted[static_cast<size_t>(std::floor((1 - r) * static_cast<double>(w.size() - 1)))];
      const SaliencyMask mask = block.mask(filter, r);
      for (int64_t k = 0; k < w.size(); ++k)
        ASSERT_EQ(mask.test(k / 71, k % 71), deviation[static_cast<size_t>(k)] > cut) << "ratio " << r << " at " << k;
    }
  }
}

TEST(SigmaSaliency, TheCenterMattersOnShiftedWeights) {
  Matrix w = make_random("gauss", 64, 64, 1);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] += 1.0f;
  Block block(std::move(w));
  EXPECT_FALSE(block.mask(SigmaSaliency({SigmaSaliency::Center::kMatrix}), 0.05).bits() ==
               block.mask(SigmaSaliency({SigmaSaliency::Center::kZero}), 0.05).bits());
}

TEST(Saliency, RatioZeroSelectsNothing) {
  Block block(make_random("gauss", 16, 80, 1));
  EXPECT_EQ(block.mask(SigmaSaliency({}), 0).shape(), MaskShape::kNone);
  EXPECT_EQ(block.mask(MagnitudeSaliency({}), 0).shape(), MaskShape::kNone);
  EXPECT_EQ(block.mask(ColumnSaliency({}), 0).shape(), MaskShape::kNone);
  EXPECT_EQ(block.mask(RandomSaliency({}), 0).shape(), MaskShape::kNone);
  EXPECT_EQ(block.mask(NoSaliency({}), 0.5).shape(), MaskShape::kNone);
  EXPECT_EQ(SigmaSaliency({}).score(block.ctx())->threshold({Cut::Unit::kRatio, 0}), 0);
}

TEST(Saliency, TiesAreNeverSplit) {
  Matrix w(8, 64);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] = k % 4 == 0 ? 2.0f : 1.0f;  // a quarter ties at the top
  Block block(std::move(w));
  EXPECT_EQ(block.mask(MagnitudeSaliency({}), 0.1).count(), 0);       // the cut falls among the equal ones
  EXPECT_EQ(block.mask(MagnitudeSaliency({}), 0.5).count(), 8 * 16);  // the cut falls below all of them
  EXPECT_EQ(block.mask(MagnitudeSaliency({MagnitudeSaliency::Scope::kRow}), 0.5).count(), 8 * 16);
}

TEST(MagnitudeSaliency, EqualsSigmaAroundZero) {
  Block block(make_random("t5", 40, 100, 2));
  EXPECT_TRUE(block.mask(MagnitudeSaliency({}), 0.03).bits() ==
              block.mask(SigmaSaliency({SigmaSaliency::Center::kZero}), 0.03).bits());
}

TEST(MagnitudeSaliency, RowsKeepTheSameShare) {
  Matrix w = make_random("gauss", 20, 130, 2);
  for (int64_t i = 0; i < w.rows(); ++i)
    for (int64_t j = 0; j < w.cols(); ++j)
      w(i, j) *= static_cast<float>(1 + i);
  Block block(std::move(w));
  const SaliencyMask rows = block.mask(MagnitudeSaliency({MagnitudeSaliency::Scope::kRow}), 0.1);
  const SaliencyMask all = block.mask(MagnitudeSaliency({}), 0.1);
  for (int64_t i = 0; i < 20; ++i)
    EXPECT_EQ(rows.bits().count_row(i), 130 - 1 - 116);  // floor(.9 * 129) = 116
  EXPECT_NE(all.bits().count_row(0), all.bits().count_row(19));
}

TEST(ColumnSaliency, KeepsTheColumnsOfMostEnergy) {
  Matrix w = make_random("gauss", 64, 100, 4);
  for (int64_t i = 0; i < w.rows(); ++i) {
    w(i, 17) *= 5;
    w(i, 93) *= 4;
    w(i, 3) *= 3;
  }
  Block block(std::move(w));
  const auto scores = ColumnSaliency({}).score(block.ctx());
  const SaliencyMask two = scores->select({Cut::Unit::kCount, 2});
  EXPECT_EQ(two.shape(), MaskShape::kColumns);
  EXPECT_EQ(two.count(), 2 * 64);
  EXPECT_TRUE(two.test(0, 17) && two.test(63, 93) && !two.test(0, 3));
  EXPECT_TRUE(scores->select({Cut::Unit::kRatio, 0.03}).test(5, 3));
  EXPECT_EQ(scores->select({Cut::Unit::kRatio, 0.29}).count(), 29 * 64);  // .29 * 100 is below 29 in double
}

TEST(ColumnSaliency, OutliersRankOtherwiseThanEnergy) {
  Matrix w = Matrix::zeros(50, 10);
  for (int64_t i = 0; i < 50; ++i)
    for (int64_t j = 0; j < 10; ++j)
      w(i, j) = (i + j) % 2 == 0 ? 0.1f : -0.1f;
  w(0, 2) = 9.0f;  // one huge weight: most energy
  for (int i = 0; i < 6; ++i)
    w(i, 7) = 3.0f;  // six outliers, less energy
  Block block(std::move(w));
  EXPECT_TRUE(ColumnSaliency({ColumnSaliency::By::kEnergy, 2.5}).score(block.ctx())->select({Cut::Unit::kCount, 1}).test(0, 2));
  EXPECT_TRUE(
      ColumnSaliency({ColumnSaliency::By::kOutliers, 2.5}).score(block.ctx())->select({Cut::Unit::kCount, 1}).test(0, 7));
}

TEST(ColumnSaliency, EqualColumnsGoLeftToRight) {
  Matrix w(4, 6);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] = 1.0f;
  Block block(std::move(w));
  const SaliencyMask mask = ColumnSaliency({}).score(block.ctx())->select({Cut::Unit::kCount, 2});
  EXPECT_TRUE(mask.test(0, 0) && mask.test(0, 1) && !mask.test(0, 2));
}

TEST(RandomSaliency, IsSeededNestedAndExact) {
  Block a(make_random("gauss", 64, 130, 1), 5), b(make_random("gauss", 64, 130, 2), 5), c(make_random("gauss", 64, 130, 1), 6);
  const RandomSaliency filter({});
  const SaliencyMask small = a.mask(filter, 0.05), large = a.mask(filter, 0.4);
  EXPECT_EQ(small.count(), a.mask(MagnitudeSaliency({}), 0.05).count());
  EXPECT_TRUE(small.bits() == b.mask(filter, 0.05).bits());   // the weights do not matter
  EXPECT_FALSE(small.bits() == c.mask(filter, 0.05).bits());  // the seed does
  for (int64_t i = 0; i < 64; ++i)
    for (int64_t j = 0; j < 130; ++j)
      ASSERT_TRUE(!small.test(i, j) || large.test(i, j));
  EXPECT_EQ(a.mask(filter, 1.0).count(), 64 * 130 - 1);
}

TEST(Saliency, ScalingScalesTheThresholdAndLeavesTheMask) {
  Matrix w = make_random("t5", 64, 96, 8);
  Block small(scaled(w, 0.125f)), block(std::move(w));
  const auto a = SigmaSaliency({}).score(block.ctx()), b = SigmaSaliency({}).score(small.ctx());
  for (const Cut cut : {Cut{Cut::Unit::kRatio, 0.02}, Cut{Cut::Unit::kSigmas, 2.0}}) {
    EXPECT_FLOAT_EQ(static_cast<float>(a->threshold(cut)) * 0.125f, static_cast<float>(b->threshold(cut)));
    EXPECT_TRUE(a->select(cut).bits() == b->select(cut).bits());
  }
}

TEST(Saliency, EveryFilterSelectsOtherWeights) {
  Block block(make_random("t10+s", 96, 200, 9));
  const SigmaSaliency sigma({});
  const RandomSaliency random({});
  const MagnitudeSaliency rows({MagnitudeSaliency::Scope::kRow});
  const SaliencyMask a = block.mask(sigma, 0.02), b = block.mask(random, 0.02), c = block.mask(rows, 0.02);
  EXPECT_FALSE(a.bits() == b.bits());
  EXPECT_FALSE(a.bits() == c.bits());
  EXPECT_FALSE(b.bits() == c.bits());
  EXPECT_EQ(block.mask(ColumnSaliency({}), 0.02).shape(), MaskShape::kColumns);
}

TEST(Saliency, BadCutsAndBadWeightsAreRefused) {
  Block block(make_random("gauss", 8, 8, 1));
  const auto scores = SigmaSaliency({}).score(block.ctx());
  EXPECT_THROW(scores->select({Cut::Unit::kCount, 3}), UserError);
  EXPECT_THROW(scores->select({Cut::Unit::kRatio, -0.1}), UserError);
  EXPECT_THROW(scores->select({Cut::Unit::kRatio, std::nan("")}), UserError);
  EXPECT_THROW(scores->select({Cut::Unit::kSigmas, -1}), UserError);
  EXPECT_THROW(MagnitudeSaliency({}).score(block.ctx())->select({Cut::Unit::kSigmas, 2}), UserError);
  EXPECT_THROW(ColumnSaliency({}).score(block.ctx())->select({Cut::Unit::kCount, 9}), UserError);
  EXPECT_THROW(ColumnSaliency({}).score(block.ctx())->select({Cut::Unit::kSigmas, 2}), UserError);
  Matrix w = make_random("gauss", 8, 8, 1);
  w(3, 3) = std::nanf("");
  Block broken(std::move(w));
  EXPECT_THROW(SigmaSaliency({}).score(broken.ctx()), RunError);
  EXPECT_THROW(ColumnSaliency({}).score(broken.ctx()), RunError);
}

TEST(Saliency, MatrixOfZeros) {
  Block block(Matrix::zeros(8, 70));
  EXPECT_EQ(block.mask(SigmaSaliency({}), 0.1).count(), 0);
  EXPECT_EQ(block.mask(MagnitudeSaliency({MagnitudeSaliency::Scope::kRow}), 0.1).count(), 0);
  EXPECT_EQ(block.mask(ColumnSaliency({}), 0.1).count(), 7 * 8);
}

}  // namespace
}  // namespace sage::test
