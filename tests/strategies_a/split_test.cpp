#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "core/util/errors.h"
#include "strategies/grouping/max_fraction_split.h"
#include "strategies/grouping/percentile_split.h"
#include "strategies/grouping/quantiles.h"
#include "strategies/saliency/columns.h"
#include "strategies/saliency/magnitude.h"
#include "tests/strategies_a/support.h"
#include "tests/support/binarization.h"

namespace sage::test {
namespace {

using grouping::SplitOn;

Matrix squared(const Matrix& w) {
  Matrix t = Matrix::copy(w.view());
  for (int64_t k = 0; k < t.size(); ++k)
    t.data()[k] *= t.data()[k] * static_cast<float>(1 + k % 3);
  return t;
}

TEST(BestSplit, TakesTheLeastErrorOfTheDefinition) {
  const Matrix w = make_random("t5", 70, 40, 6);
  Block block(Matrix::copy(w.view()));
  const SaliencyMask masks[] = {block.none(), block.mask(ColumnSaliency({}), 0.1), block.mask(MagnitudeSaliency({}), 0.05)};
  const std::vector<float> candidates = {0.0f, 0.05f, 0.3f, 0.3f, 0.7f, 1.4f, 100.0f};
  for (const SaliencyMask& mask : masks)
    for (const bool centered : {true, false}) {
      const auto model = grouping::best_split(block.ctx(), mask, candidates, SplitOn::kWeights, centered, "test");
      const std::vector<double>& errors = block.trace().arrays().at("split.errors").values;
      const std::vector<double>& upper_counts = block.trace().arrays().at("split.upper_counts").values;
      ASSERT_EQ(errors.size(), candidates.size());
      for (size_t c = 0; c < candidates.size(); ++c) {
        const auto upper = [&](int64_t i, int64_t j) { return std::abs(w(i, j)) >= candidates[c]; };
        const double expected =
            plain_binarization_error(w.view(), 1, centered,
                                     [&](int64_t i, int64_t j) { return !mask.test(i, j) && upper(i, j); }) +
            plain_binarization_error(w.view(), 1, centered,
                                     [&](int64_t i, int64_t j) { return !mask.test(i, j) && !upper(i, j); }) +
            plain_binarization_error(w.view(), 2, centered, [&](int64_t i, int64_t j) { return mask.test(i, j); });
        EXPECT_NEAR(errors[c], expected / static_cast<double>(w.size()), 1e-11);
        int64_t count = 0;
        for (int64_t i = 0; i < w.rows(); ++i)
          for (int64_t j = 0; j < w.cols(); ++j)
            count += !mask.test(i, j) && upper(i, j);
        EXPECT_EQ(upper_counts[c], static_cast<double>(count));
      }
      EXPECT_EQ(errors[2], errors[3]);
      const auto best = static_cast<size_t>(std::min_element(errors.begin(), errors.end()) - errors.begin());
      EXPECT_EQ(block.trace().scalars().at("split.index"), static_cast<double>(best));
      EXPECT_EQ(block.trace().scalars().at("split.value"), candidates[best]);
      const GroupMap map = model->assign(block.ctx(), mask);
      for (int64_t i = 0; i < w.rows(); ++i)
        for (int64_t j = 0; j < w.cols(); ++j)
          ASSERT_EQ(map.at(i, j), !mask.test(i, j) && std::abs(w(i, j)) >= candidates[best] ? 1u : 0u);
    }
}

TEST(PercentileSplit, ZerosOfSalientWeightsCountAmongTheQuantiles) {
  Matrix w(4, 10);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] = static_cast<float>(k + 1);
  Block block(std::move(w));
  BitMask flags(1, 10);
  for (int64_t j = 5; j < 10; ++j)
    flags.set(0, j);
  const SaliencyMask half = SaliencyMask::columns(4, flags);
  PercentileSplit::Params p;
  p.on = SplitOn::kWeights;
  p.lo = p.hi = 0.25;
  p.points = 1;
  const auto model = PercentileSplit(p).prepare(block.ctx(), half, {});
  EXPECT_EQ(block.trace().scalars().at("split.value"), 0);
  EXPECT_EQ(block.trace().arrays().at("split.upper_counts").values, std::vector<double>{20});
  const GroupMap map = model->assign(block.ctx(), half);
  EXPECT_EQ(map.groups, 2);
  EXPECT_FALSE(map.implied);
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 10; ++j)
      EXPECT_EQ(map.at(i, j), j < 5 ? 1u : 0u);
  // Without salient weights the quarter point of 1 .. 40 is 10.75.
  PercentileSplit(p).prepare(block.ctx(), block.none(), {});
  EXPECT_EQ(block.trace().scalars().at("split.value"), 10.75);
}

TEST(PercentileSplit, SplitsWhatItIsToldTo) {
  Matrix w = make_random("t5", 64, 96, 3);
  const Matrix target = squared(w);
  Block block(std::move(w));
  const SaliencyMask mask = block.mask(ColumnSaliency({}), 0.05);
  BlockContext ctx = block.ctx();
  ctx.saliency_target = target.view();
  ctx.first_column = 96;
  for (const SplitOn on : {SplitOn::kSaliency, SplitOn::kWeights}) {
    PercentileSplit::Params p;
    p.on = on;
    const GroupMap map = PercentileSplit(p).prepare(ctx, mask, {})->assign(ctx, mask);
    const double cut = block.trace().scalars().at("split.value@96");
    const WeightView x = on == SplitOn::kSaliency ? target.view() : block.w().view();
    for (int64_t i = 0; i < 64; ++i)
      for (int64_t j = 0; j < 96; ++j)
        ASSERT_EQ(map.at(i, j), !mask.test(i, j) && std::abs(x(i, j)) >= cut ? 1u : 0u);
  }
}

TEST(MaxFractionSplit, TriesTenthsOfTheLargestUnsalientWeight) {
  Block block(make_random("gauss", 48, 80, 9));
  const SaliencyMask mask = block.mask(MagnitudeSaliency({}), 0.02);
  float largest = 0;
  for (int64_t i = 0; i < 48; ++i)
    for (int64_t j = 0; j < 80; ++j)
      if (!mask.test(i, j)) largest = std::max(largest, std::abs(block.w()(i, j)));
  const GroupMap map = MaxFractionSplit({}).prepare(block.ctx(), mask, {})->assign(block.ctx(), mask);
  const std::vector<double>& values = block.trace().arrays().at("split.values").values;
  ASSERT_EQ(values.size(), 9u);
  for (size_t k = 0; k < 9; ++k)
    EXPECT_NEAR(values[k], 0.1 * static_cast<double>(k + 1) * largest, 1e-6);
  const double cut = block.trace().scalars().at("split.value");
  EXPECT_EQ(map.at(0, 0), !mask.test(0, 0) && std::abs(block.w()(0, 0)) >= cut ? 1u : 0u);
}

// For |N(0,1)| two groups around means of their own are best cut at .9816, the paper's Gaussian case: share of weights below
// .6737.
TEST(Splits, FindTheBestCutOfNormalWeights) {
  Block block(fixture_normal(18));
  PercentileSplit::Params p;
  p.on = SplitOn::kWeights;
  p.centered = false;
  PercentileSplit(p).prepare(block.ctx(), block.none(), {});
  EXPECT_NEAR(block.trace().scalars().at("split.value"), 0.9816, 0.03);
  EXPECT_NEAR(block.trace().scalars().at("split.index"), 57, 1);
  MaxFractionSplit::Params q;
  q.points = 81;
  MaxFractionSplit(q).prepare(block.ctx(), block.none(), {});
  EXPECT_NEAR(block.trace().scalars().at("split.value"), 0.9816, 0.05);
}

TEST(Splits, OptionsChangeTheGroups) {
  Matrix w = make_random("t10+s", 96, 128, 4);
  for (int64_t i = 0; i < w.rows(); ++i)  // a mean per row
    for (int64_t j = 0; j < w.cols(); ++j)
      w(i, j) += 0.1f * static_cast<float>(i % 9);
  const Matrix target = squared(w);
  Block block(std::move(w));
  BlockContext ctx = block.ctx();
  ctx.saliency_target = target.view();
  const auto labels = [&](const GroupingStrategy& s) {
    return s.prepare(ctx, block.none(), {})->assign(ctx, block.none()).element;
  };
  PercentileSplit::Params saliency, weights, plain;
  weights.on = plain.on = SplitOn::kWeights;
  plain.centered = false;
  EXPECT_NE(labels(PercentileSplit(saliency)), labels(PercentileSplit(weights)));
  EXPECT_NE(labels(PercentileSplit(weights)), labels(PercentileSplit(plain)));
  EXPECT_NE(labels(PercentileSplit(weights)), labels(MaxFractionSplit({})));
}

TEST(Splits, ScaleAndThreadsDoNotMatter) {
  Matrix w = make_random("t5", 200, 128, 11);
  Block small(scaled(w, 0.0625f)), block(std::move(w));
  PercentileSplit::Params p;
  p.on = SplitOn::kWeights;
  const std::vector<uint8_t> expected = block.groups(PercentileSplit(p), block.none()).element;
  EXPECT_EQ(small.groups(PercentileSplit(p), small.none()).element, expected);
  EXPECT_EQ(small.groups(MaxFractionSplit({}), small.none()).element, block.groups(MaxFractionSplit({}), block.none()).element);
  PercentileSplit(p).prepare(block.ctx(), block.none(), {});
  const std::vector<double> errors = block.trace().arrays().at("split.errors").values;
  const int threads = omp_get_max_threads();
  for (const int n : {1, 3, 5}) {
    omp_set_num_threads(n);
    PercentileSplit(p).prepare(block.ctx(), block.none(), {});
    EXPECT_EQ(block.trace().arrays().at("split.errors").values, errors);
  }
  omp_set_num_threads(threads);
}

TEST(Splits, LayoutAndErrors) {
  Block block(make_random("gauss", 8, 16, 1));
  const PercentileSplit split({});
  EXPECT_EQ(split.max_groups(8, 16), 2);
  const GroupMap layout = split.layout(8, 16, 2);
  EXPECT_EQ(layout.shape, LabelShape::kElement);
  EXPECT_FALSE(layout.implied);
  EXPECT_THROW(split.layout(8, 16, 3), ResourceError);
  EXPECT_THROW(split.layout(8, 16, 1), ResourceError);
  EXPECT_THROW(MaxFractionSplit({}).layout(8, 16, 3), ResourceError);
  EXPECT_THROW(split.prepare(block.ctx(), block.none(), {}), UserError);  // no target to split
  EXPECT_THROW(MaxFractionSplit({}).prepare(block.ctx(), block.none(), 3), UserError);
  PercentileSplit::Params p;
  p.lo = 0.9;
  p.hi = 0.1;
  EXPECT_THROW(PercentileSplit{p}, UserError);
}

TEST(Splits, RefuseWhatIsNotFinite) {
  PercentileSplit::Params p;
  p.on = SplitOn::kWeights;
  for (const float bad : {std::nanf(""), INFINITY}) {
    Matrix w = make_random("gauss", 8, 16, 1);
    w(3, 5) = bad;
    Block block(std::move(w));
    EXPECT_THROW(PercentileSplit(p).prepare(block.ctx(), block.none(), {}), RunError);
    EXPECT_THROW(MaxFractionSplit({}).prepare(block.ctx(), block.none(), {}), RunError);
  }
}

TEST(Splits, DegenerateBlocks) {
  Block zeros(Matrix::zeros(6, 70));
  PercentileSplit::Params p;
  p.on = SplitOn::kWeights;
  EXPECT_EQ(zeros.groups(PercentileSplit(p), zeros.none()).groups, 2);
  EXPECT_EQ(zeros.groups(MaxFractionSplit({}), zeros.none()).groups, 2);
  Block block(make_random("gauss", 6, 70, 1));
  BitMask all(1, 70);
  for (int64_t j = 0; j < 70; ++j)
    all.set(0, j);
  const SaliencyMask everything = SaliencyMask::columns(6, all);
  const GroupMap map = block.groups(PercentileSplit(p), everything);
  EXPECT_EQ(std::count(map.element.begin(), map.element.end(), 0), 6 * 70);
  block.groups(MaxFractionSplit({}), everything);
}

TEST(Quantiles, EndsAndSinglePoints) {
  EXPECT_EQ(grouping::linspace(0.2f, 0.7f, 1), std::vector<float>{0.2f});
  EXPECT_EQ(grouping::linspace(0.0f, 1.0f, 2), (std::vector<float>{0.0f, 1.0f}));
  EXPECT_EQ(grouping::linspace(0.0f, 1.0f, 5), (std::vector<float>{0.0f, 0.25f, 0.5f, 0.75f, 1.0f}));
  const std::vector<float> z = {1, 2, 4}, p = {0, 0.25f, 0.5f, 0.75f, 1}, one = {3};
  EXPECT_EQ(grouping::quantiles(z, p), (std::vector<float>{1, 1.5f, 2, 3, 4}));
  EXPECT_EQ(grouping::quantiles(one, p), std::vector<float>(5, 3.0f));
}

}  // namespace
}  // namespace sage::test
