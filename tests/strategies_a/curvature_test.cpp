#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/util/errors.h"
#include "strategies/saliency/columns.h"
#include "strategies/saliency/hessian.h"
#include "strategies/saliency/hessian_inverse_diag.h"
#include "strategies/saliency/magnitude.h"
#include "tests/strategies_a/support.h"

namespace sage::test {
namespace {

using Unit = HessianSaliency::Unit;
const Cut kNineTenths{Cut::Unit::kPercentile, 0.9};

struct Calibrated : Block {
  explicit Calibrated(Matrix w) : Block(std::move(w)) {
    for (int64_t j = 0; j < this->w().cols(); ++j) {
      u.push_back(0.25f + 0.5f * static_cast<float>((j * 29) % 31) / 31.0f);
      inverse.push_back(1.25f - u.back() * u.back());
    }
  }
  BlockContext ctx() {
    BlockContext c = Block::ctx();
    c.factor_diagonal = u;
    c.inverse_diagonal = inverse;
    return c;
  }
  std::vector<float> u, inverse;
};

TEST(HessianSaliency, TargetsAreTheTwoFormulas) {
  Calibrated block(make_random("t5", 20, 70, 2));
  const auto code = HessianSaliency({}).score(block.ctx());
  const auto paper = HessianInverseDiagSaliency({}).score(block.ctx());
  for (int64_t i = 0; i < 20; ++i)
    for (int64_t j = 0; j < 70; ++j) {
      const float w = block.w()(i, j), u = block.u[static_cast<size_t>(j)], h = block.inverse[static_cast<size_t>(j)];
      ASSERT_EQ(code->target()(i, j), w * w / (u * u));
      ASSERT_EQ(paper->target()(i, j), w * w / (h * h));
    }
  EXPECT_FALSE(code->select(kNineTenths).bits() == paper->select(kNineTenths).bits());
}

TEST(HessianSaliency, ColumnsGoByTheirSum) {
  Calibrated block(make_random("t5", 33, 90, 3));
  const auto scores = HessianSaliency({Unit::kColumns}).score(block.ctx());
  std::vector<double> sums(90, 0.0);
  for (int64_t i = 0; i < 33; ++i)
    for (size_t j = 0; j < 90; ++j)
      sums[j] += scores->target()(i, static_cast<int64_t>(j));
  const std::span<const int64_t> order = scores->columns_by_score();
  ASSERT_EQ(order.size(), 90u);
  for (size_t k = 1; k < 90; ++k)
    EXPECT_GE(sums[static_cast<size_t>(order[k - 1])], sums[static_cast<size_t>(order[k])]);
  std::vector<int64_t> sorted(order.begin(), order.end()), expected(90);
  std::sort(sorted.begin(), sorted.end());
  std::iota(expected.begin(), expected.end(), int64_t{0});
  EXPECT_EQ(sorted, expected);
  const SaliencyMask three = scores->select({Cut::Unit::kCount, 3});
  EXPECT_EQ(three.shape(), MaskShape::kColumns);
  EXPECT_EQ(three.count(), 3 * 33);
  for (size_t k = 0; k < 3; ++k)
    EXPECT_TRUE(three.test(0, order[k]));
  EXPECT_EQ(scores->select({Cut::Unit::kRatio, 0.1}).count(), 9 * 33);
  // Weighing by the diagonal is not ranking by energy.
  const auto energy = ColumnSaliency({}).score(block.ctx());
  EXPECT_FALSE(std::equal(order.begin(), order.end(), energy->columns_by_score().begin()));
}

TEST(HessianSaliency, WithAConstantDiagonalItIsMagnitude) {
  Calibrated block(make_random("t5", 40, 60, 5));
  std::fill(block.u.begin(), block.u.end(), 0.5f);
  const auto hessian = HessianSaliency({}).score(block.ctx());
  const auto magnitude = MagnitudeSaliency({}).score(block.ctx());
  for (const Cut cut : {kNineTenths, Cut{Cut::Unit::kRatio, 0.03}}) {
    EXPECT_TRUE(hessian->select(cut).bits() == magnitude->select(cut).bits());
    const double t = magnitude->threshold(cut);
    EXPECT_NEAR(hessian->threshold(cut), 4 * t * t, 1e-6 * t * t);
  }
}

// floor(N f) + 1 weights are low, and whatever ties with the last of them.
TEST(PercentileCut, CountsAsTheReleasedCode) {
  Calibrated block(make_random("t5", 25, 41, 8));  // 1025 weights, no two alike
  const auto magnitude = MagnitudeSaliency({}).score(block.ctx());
  for (const double f : {0.0, 0.29, 0.5, 0.9, 0.95, 0.999}) {
    const int64_t low = static_cast<int64_t>(1025 * f) + 1;
    EXPECT_EQ(magnitude->select({Cut::Unit::kPercentile, f}).count(), 1025 - low) << f;
    EXPECT_EQ(HessianSaliency({}).score(block.ctx())->select({Cut::Unit::kPercentile, f}).count(), 1025 - low) << f;
  }
  const SaliencyMask rows = MagnitudeSaliency({MagnitudeSaliency::Scope::kRow}).score(block.ctx())->select(kNineTenths);
  for (int64_t i = 0; i < 25; ++i)
    EXPECT_EQ(rows.bits().count_row(i), 41 - 36 - 1);  // floor(41 * .9) = 36
  Matrix ties(4, 10);
  for (int64_t k = 0; k < 40; ++k)
    ties.data()[k] = k % 2 == 0 ? 1.0f : -3.0f;
  Block tied(std::move(ties));
  EXPECT_EQ(MagnitudeSaliency({}).score(tied.ctx())->select({Cut::Unit::kPercentile, 0.9}).count(), 0);
  EXPECT_EQ(MagnitudeSaliency({}).score(tied.ctx())->select({Cut::Unit::kPercentile, 0.4}).count(), 20);
}

TEST(ColumnSaliency, MagnitudeRanksBySumsOfMagnitudes) {
  Matrix w = Matrix::zeros(300, 3);
  w(7, 0) = 20;  // most energy
  for (int64_t i = 0; i < 300; ++i) {
    w(i, 1) = i % 2 == 0 ? 0.25f : -0.25f;  // sum |w| = 75
    w(i, 2) = 0.2f;
  }
  Block block(std::move(w));
  const auto scores = ColumnSaliency({ColumnSaliency::By::kMagnitude}).score(block.ctx());
  const std::span<const int64_t> order = scores->columns_by_score();
  EXPECT_EQ(std::vector<int64_t>(order.begin(), order.end()), (std::vector<int64_t>{1, 2, 0}));
  EXPECT_EQ(scores->target().data, block.w().data());
  EXPECT_EQ(ColumnSaliency({}).score(block.ctx())->columns_by_score()[0], 0);
}

TEST(HessianSaliency, UnitsAndCuts) {
  Calibrated block(make_random("gauss", 8, 12, 1));
  const HessianSaliency weights({Unit::kWeights}), columns({Unit::kColumns});
  EXPECT_TRUE(weights.needs_calibration() && HessianInverseDiagSaliency({}).needs_calibration());
  EXPECT_TRUE(weights.supports(Cut::Unit::kPercentile) && weights.supports(Cut::Unit::kRatio));
  EXPECT_FALSE(weights.supports(Cut::Unit::kCount) || weights.supports(Cut::Unit::kSigmas));
  EXPECT_TRUE(columns.supports(Cut::Unit::kCount) && columns.supports(Cut::Unit::kRatio));
  EXPECT_FALSE(columns.supports(Cut::Unit::kPercentile) || columns.supports(Cut::Unit::kSigmas));
  EXPECT_EQ(weights.mask_shape(), MaskShape::kElements);
  EXPECT_EQ(columns.mask_shape(), MaskShape::kColumns);
  const auto w = weights.score(block.ctx()), c = columns.score(block.ctx());
  EXPECT_TRUE(w->columns_by_score().empty());
  EXPECT_THROW(w->select({Cut::Unit::kCount, 1}), UserError);
  EXPECT_THROW(w->select({Cut::Unit::kPercentile, 1.0}), UserError);
  EXPECT_THROW(w->select({Cut::Unit::kPercentile, -0.1}), UserError);
  EXPECT_THROW(w->select({Cut::Unit::kPercentile, std::nan("")}), UserError);
  EXPECT_THROW(c->select({Cut::Unit::kPercentile, 0.5}), UserError);
  EXPECT_THROW(c->select({Cut::Unit::kCount, 13}), UserError);
  EXPECT_EQ(w->select({Cut::Unit::kRatio, 0}).shape(), MaskShape::kNone);
}

TEST(HessianSaliency, ADiagonalThatIsMissingOrUselessIsRefused) {
  Calibrated block(make_random("gauss", 8, 12, 1));
  EXPECT_THROW(HessianSaliency({}).score(block.Block::ctx()), RunError);
  EXPECT_THROW(HessianInverseDiagSaliency({}).score(block.Block::ctx()), RunError);
  block.u[3] = 0;
  EXPECT_THROW(HessianSaliency({}).score(block.ctx()), RunError);
  block.u[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(HessianSaliency({}).score(block.ctx()), RunError);
  block.u.pop_back();
  EXPECT_THROW(HessianSaliency({}).score(block.ctx()), Error);
}

}  // namespace
}  // namespace sage::test
