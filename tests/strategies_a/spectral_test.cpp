#include "strategies/grouping/spectral.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "core/util/errors.h"
#include "strategies/grouping/equal_count.h"
#include "strategies/grouping/kmeans.h"
#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/magnitude_profile.h"
#include "strategies/grouping/single.h"
#include "strategies/saliency/magnitude.h"
#include "strategies/saliency/sigma.h"
#include "tests/strategies_a/support.h"

namespace sage::test {
namespace {

using Params = SpectralGrouping::Params;
using Feature = SpectralGrouping::Feature;

KMeansGrouping kmeans(int groups) { return KMeansGrouping({groups, 2000}); }

// --- random 4096 x 4096 normal, r = 1 %
// ------------------------------------------------------------------------------------------

// D of the whole code: the unsalient error plus what four-bit salient codes add on normal weights (1.2e-4 of the energy).
constexpr double kSalientError = 1.2e-4;

TEST(RandomNormal4096, GraphAndKMeans) {
  Block block(make_random("gauss", 4096, 4096, 1));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  const SpectralGrouping graph{Params{}};
  const GroupMap own = block.groups(graph, mask);
  EXPECT_EQ(own.groups, 2);
  EXPECT_EQ(block.trace().scalars().at("grouping.nodes"), 5033);
  const double chosen = block.error(own, mask) + kSalientError;
  EXPECT_GE(chosen, .100);
  EXPECT_LE(chosen, .107);

  // D of a set of cuts without touching the matrix again.
  const MagnitudeProfile profile(oracle(), block.w().view(), {&mask, false});
  const auto error = [&](const GroupingModel& model) {
    const auto cuts = dynamic_cast<const MagnitudeGroups&>(model).cuts();
    return profile.squared_error(std::vector<double>(cuts.begin(), cuts.end())) / block.energy() + kSalientError;
  };
  EXPECT_NEAR(error(*graph.prepare(block.ctx(), mask, {})), chosen, 1e-5);
  const double best[] = {.0965, .0264, .0069}, low[] = {.100, .033, .010}, high[] = {.107, .038, .013};
  const int groups[] = {2, 4, 8};
  for (int k = 0; k < 3; ++k) {
    const double by_means = error(*kmeans(groups[k]).prepare(block.ctx(), mask, {}));
    EXPECT_NEAR(by_means, best[k], 3e-4);
    // One sample of nodes scatters by 4 % at K = 4 and 8 % at K = 8; the mean over samples is what can be compared.
    const int samples = 16;
    double mean = 0;
    for (int seed = 0; seed < samples; ++seed) {
      BlockContext ctx = block.ctx();
      ctx.seed = static_cast<uint64_t>(seed);
      const double by_graph = error(*graph.prepare(ctx, mask, groups[k]));
      EXPECT_LE(by_means, by_graph);
      EXPECT_GE(by_graph, 0.85 * low[k]);
      EXPECT_LE(by_graph, high[k]);
      mean += by_graph / samples;
    }
    EXPECT_GE(mean, low[k]) << "K " << groups[k];
    EXPECT_LE(mean, high[k]) << "K " << groups[k];
  }
}

// --- what the graph does
// -----------------------------------------------------------------------------------------------------------

TEST(SpectralGrouping, NeverBeatsKMeansAndRefinementReachesIt) {
  for (const char* kind : {"gauss", "t5", "t10+s"}) {
    Block block(make_random(kind, 320, 300, 4));
    const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
    for (const int k : {2, 3, 4, 6, 8}) {
      Params params;
      params.groups = k;
      const double plain = block.error(SpectralGrouping(params), mask), best = block.error(kmeans(k), mask);
      EXPECT_LE(best, plain * (1 + 1e-6)) << kind << " K " << k;
      params.refine = 2000;
      EXPECT_NEAR(block.error(SpectralGrouping(params), mask), best, 1e-3 * best) << kind << " K " << k;
    }
  }
}

// A self-tuned line graph is a path in rank: boundaries fall near the quantiles of the weights.
TEST(SpectralGrouping, ClustersAreNearlyEqualInCount) {
  for (const char* kind : {"gauss", "t5"}) {
    Block block(make_random(kind, 512, 512, 4));
    const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
    Params params;
    params.groups = 4;
    params.nmin = 4000;
    params.assign = SpectralGrouping::Assign::kBoundary;
    const auto moments = block.moments(block.groups(SpectralGrouping(params), mask), mask);
    for (const Moments& m : moments)
      EXPECT_NEAR(static_cast<double>(m.count) / static_cast<double>(mask.rows() * mask.cols() - mask.count()), 0.25, 0.07)
          << kind;
  }
}

TEST(SpectralGrouping, BoundaryAndCentroidAssignDiffer) {
  Block block(make_random("t5", 256, 256, 4));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  Params params;
  params.groups = 3;
  const GroupMap centroid = block.groups(SpectralGrouping(params), mask);
  params.assign = SpectralGrouping::Assign::kBoundary;
  EXPECT_FALSE(centroid.element == block.groups(SpectralGrouping(params), mask).element);
}

// Signs as groups waste the id: one group does as well, unless a mean is subtracted.
TEST(SpectralGrouping, SignedFeatureFindsSigns) {
  Block block(make_random("gauss", 1024, 1024, 1));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  Params params;
  params.feature = Feature::kSigned;
  params.nmin = 5033;
  const GroupMap map = block.groups(SpectralGrouping(params), mask);
  ASSERT_EQ(map.groups, 2);
  EXPECT_NEAR(block.error(map, mask), block.error(SingleGroup({}), mask), 2e-3);
  int64_t mixed = 0, n = 0;
  for (int64_t i = 0; i < 1024; ++i)
    for (int64_t j = 0; j < 1024; ++j)
      if (!mask.test(i, j) && std::abs(block.w()(i, j)) > 0.2) ++n, mixed += map.at(i, j) != (block.w()(i, j) > 0 ? 1u : 0u);
  EXPECT_LT(static_cast<double>(mixed), 0.01 * static_cast<double>(n));
  // With each group's own mean subtracted it is nearly as good as magnitude groups: .106 measured elsewhere.
  double shifted = 0;
  std::vector<double> sum(2, 0.0), count(2, 0.0);
  for (int64_t i = 0; i < 1024; ++i)
    for (int64_t j = 0; j < 1024; ++j)
      if (!mask.test(i, j)) sum[map.at(i, j)] += block.w()(i, j), count[map.at(i, j)] += 1;
  for (const int g : {0, 1}) {
    double s1 = 0, s2 = 0;
    const double mu = sum[static_cast<size_t>(g)] / count[static_cast<size_t>(g)];
    for (int64_t i = 0; i < 1024; ++i)
      for (int64_t j = 0; j < 1024; ++j)
        if (!mask.test(i, j) && map.at(i, j) == static_cast<uint32_t>(g))
          s1 += std::abs(block.w()(i, j) - mu), s2 += std::pow(block.w()(i, j) - mu, 2);
    shifted += s2 - s1 * s1 / count[static_cast<size_t>(g)];
  }
  EXPECT_NEAR(shifted / block.energy(), .106, .004);
}

// (|w|, row mean, column mean) behaves like |w| on a matrix without structure: K = 2, D = .0969 measured elsewhere.
TEST(SpectralGrouping, RowAndColumnMeansAsFeatures) {
  Block block(make_random("gauss", 1024, 1024, 1));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  Params params;
  params.feature = Feature::kAbsRowCol;
  params.nmin = 5033;
  const GroupMap map = block.groups(SpectralGrouping(params), mask);
  EXPECT_EQ(map.groups, 2);
  EXPECT_NEAR(block.error(map, mask), .0969, .004);
}

// With positions the id says mostly where a weight stands, so it helps little: .133 measured elsewhere, at five groups.
TEST(SpectralGrouping, PositionsAsFeatures) {
  Block block(make_random("gauss", 512, 512, 1));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  Params params;
  params.feature = Feature::kAbsPos;
  params.nmin = 2000;
  params.groups = 5;
  const GroupMap map = block.groups(SpectralGrouping(params), mask);
  EXPECT_EQ(map.groups, 5);
  const double error = block.error(map, mask);
  EXPECT_GT(error, 3 * block.error(kmeans(5), mask));
  EXPECT_LT(error, block.error(SingleGroup({}), mask));
  params.refine = 3;
  EXPECT_FALSE(map.element == block.groups(SpectralGrouping(params), mask).element);
}

TEST(SpectralGrouping, EveryOptionChangesTheLabels) {
  Block block(make_random("t10+s", 256, 320, 4));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  const auto labels = [&](auto change) {
    Params params;
    params.groups = 3;
    change(params);
    return block.groups(SpectralGrouping(params), mask).element;
  };
  const auto base = labels([](Params&) {});
  EXPECT_EQ(base, labels([](Params&) {}));
  EXPECT_NE(base, labels([](Params& p) { p.feature = Feature::kSigned; }));
  EXPECT_NE(base, labels([](Params& p) { p.feature = Feature::kAbsRowCol; }));
  EXPECT_NE(base, labels([](Params& p) { p.feature = Feature::kAbsPos; }));
  EXPECT_NE(base, labels([](Params& p) { p.nmin = 500; }));
  EXPECT_NE(base, labels([](Params& p) { p.sub_frac = 0.01; }));
  EXPECT_NE(base, labels([](Params& p) { p.nmax = p.nmin = 200; }));
  EXPECT_NE(base, labels([](Params& p) { p.knn = 25; }));
  EXPECT_NE(base, labels([](Params& p) { p.affinity = graph::Affinity::kRbf; }));
  EXPECT_NE(base, labels([](Params& p) { p.affinity = graph::Affinity::kBinary; }));
  EXPECT_NE(base, labels([](Params& p) { p.assign = SpectralGrouping::Assign::kBoundary; }));
  EXPECT_NE(base, labels([](Params& p) { p.refine = 5; }));
  EXPECT_NE(base, labels([](Params& p) { p.groups = 4; }));
  EXPECT_NE(base, labels([](Params& p) {
              p.groups.reset();
              p.kmin = 5;
              p.kmax = 6;
            }));
}

TEST(SpectralGrouping, SeedsDifferAndRepeat) {
  Params params;
  params.groups = 4;
  Block a(make_random("gauss", 200, 256, 4), 1), b(make_random("gauss", 200, 256, 4), 2);
  const SaliencyMask mask = a.mask(SigmaSaliency({}), 0.01);
  EXPECT_TRUE(a.groups(SpectralGrouping(params), mask).element == a.groups(SpectralGrouping(params), mask).element);
  EXPECT_FALSE(a.groups(SpectralGrouping(params), mask).element == b.groups(SpectralGrouping(params), mask).element);
}

TEST(SpectralGrouping, ThreadsDoNotMatter) {
  Block block(make_random("t10+s", 300, 320, 4));
  const int before = omp_get_max_threads();
  for (const Feature feature : {Feature::kAbs, Feature::kAbsPos}) {
    Params params;
    params.feature = feature;
    params.refine = 3;
    std::vector<std::vector<uint8_t>> labels;
    for (const int threads : {1, 2, 5}) {
      omp_set_num_threads(threads);
      const SaliencyMask mask = block.mask(MagnitudeSaliency({MagnitudeSaliency::Scope::kRow}), 0.01);
      labels.push_back(block.groups(SpectralGrouping(params), mask).element);
      const auto equal = block.groups(EqualCountGrouping({5}), mask).element;
      labels.back().insert(labels.back().end(), equal.begin(), equal.end());
    }
    omp_set_num_threads(before);
    EXPECT_EQ(labels[0], labels[1]);
    EXPECT_EQ(labels[0], labels[2]);
  }
}

// With every weight a node the sample is the same multiset in any order, and so are the groups.
TEST(SpectralGrouping, PermutationLeavesTheGroupsGivenTheSameNodes) {
  const Matrix w = make_random("t5", 48, 64, 8);
  Matrix turned(w.rows(), w.cols());
  for (int64_t i = 0; i < w.rows(); ++i)
    for (int64_t j = 0; j < w.cols(); ++j)
      turned((i * 7 + 3) % 48, (j * 5 + 1) % 64) = w(i, j);
  Block a(Matrix::copy(w.view())), b(std::move(turned));
  const SaliencyMask none = a.none();
  Params params;
  params.sub_frac = 1;
  const GroupMap x = a.groups(SpectralGrouping(params), none), y = b.groups(SpectralGrouping(params), none);
  EXPECT_EQ(a.trace().scalars().at("grouping.nodes"), 48 * 64);
  ASSERT_EQ(x.groups, y.groups);
  for (int64_t i = 0; i < w.rows(); ++i)
    for (int64_t j = 0; j < w.cols(); ++j)
      ASSERT_EQ(x.at(i, j), y.at((i * 7 + 3) % 48, (j * 5 + 1) % 64));
}

TEST(SpectralGrouping, ScalingLeavesTheLabels) {
  Matrix w = make_random("t10+s", 200, 256, 8);
  for (const Feature feature : {Feature::kAbs, Feature::kSigned, Feature::kAbsRowCol, Feature::kAbsPos}) {
    Block block(Matrix::copy(w.view())), small(scaled(w, 0.03125f));
    const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.02);
    Params params;
    params.feature = feature;
    EXPECT_TRUE(block.groups(SpectralGrouping(params), mask).element == small.groups(SpectralGrouping(params), mask).element);
  }
}

TEST(SpectralGrouping, TraceSaysWhatWasChosen) {
  Block block(make_random("gauss", 300, 300, 4));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.01);
  const GroupMap map = block.groups(SpectralGrouping(Params{}), mask);
  const auto& s = block.trace().scalars();
  EXPECT_EQ(s.at("grouping.K"), static_cast<double>(map.groups));
  EXPECT_EQ(s.at("grouping.nodes"), 256);
  EXPECT_GE(s.at("grouping.components"), 1);
  const auto& arrays = block.trace().arrays();
  EXPECT_EQ(arrays.at("grouping.eigenvalues").values.size(), 8u);
  const auto& sil = arrays.at("grouping.silhouette").values;
  ASSERT_EQ(sil.size(), 7u);
  EXPECT_EQ(std::max_element(sil.begin(), sil.end()) - sil.begin() + 2, map.groups);
  const auto& centroids = arrays.at("grouping.centroids").values;
  ASSERT_EQ(static_cast<int64_t>(centroids.size()), map.groups);
  // In weights' own units: the first group's mean lies among its members.
  const auto m = block.moments(map, mask);
  EXPECT_NEAR(centroids[0], m[0].abs_sum / static_cast<double>(m[0].count), 0.1);
}

TEST(SpectralGrouping, FewUnsalientWeights) {
  Block block(make_random("gauss", 4, 8, 4));
  for (const int salient : {0, 20, 29, 30, 31, 32}) {
    BitMask bits(4, 8);
    for (int k = 0; k < salient; ++k)
      bits.set(k / 8, k % 8);
    const SaliencyMask mask = SaliencyMask::elements(bits);
    for (const Feature feature : {Feature::kAbs, Feature::kSigned, Feature::kAbsRowCol, Feature::kAbsPos}) {
      Params params;
      params.feature = feature;
      const GroupMap own = block.groups(SpectralGrouping(params), mask);
      EXPECT_GE(own.groups, 1);
      EXPECT_EQ(block.groups(SpectralGrouping(params), mask, 3).groups, 3) << salient;
    }
  }
}

TEST(SpectralGrouping, MatricesWithFewValues) {
  Matrix w(64, 64);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] = static_cast<float>(k % 3) * (k % 2 == 0 ? 0.5f : -0.5f);  // 0, .5, 1
  Block block(std::move(w));
  const SaliencyMask none = block.none();
  const GroupMap map = block.groups(SpectralGrouping(Params{}), none);
  EXPECT_LE(map.groups, 8);
  Block zeros(Matrix::zeros(64, 64));
  EXPECT_GE(zeros.groups(SpectralGrouping(Params{}), zeros.none()).groups, 1);
}

TEST(SpectralGrouping, BadParametersAreRefused) {
  Params params;
  params.kmin = 5;
  params.kmax = 4;
  EXPECT_THROW(SpectralGrouping{params}, UserError);
  params = {};
  params.nmin = 500;
  params.nmax = 400;
  EXPECT_THROW(SpectralGrouping{params}, UserError);
  params = {};
  params.assign = SpectralGrouping::Assign::kBoundary;
  params.refine = 1;
  EXPECT_THROW(SpectralGrouping{params}, UserError);
  params.refine = 0;
  params.feature = Feature::kAbsPos;
  EXPECT_THROW(SpectralGrouping{params}, UserError);
}

TEST(SpectralGrouping, LayoutMatchesAssign) {
  Block block(make_random("gauss", 40, 50, 4));
  const SaliencyMask mask = block.mask(SigmaSaliency({}), 0.05);
  const SpectralGrouping strategy{Params{}};
  const GroupMap a = block.groups(strategy, mask), b = strategy.layout(40, 50, a.groups);
  EXPECT_EQ(a.shape, b.shape);
  EXPECT_EQ(a.implied, b.implied);
  EXPECT_TRUE(b.element.empty());
  EXPECT_EQ(block.groups(strategy, mask, 1).shape, LabelShape::kSingle);
  EXPECT_EQ(strategy.layout(40, 50, 1).shape, LabelShape::kSingle);
  EXPECT_THROW(strategy.layout(40, 50, 9), ResourceError);
  EXPECT_EQ(strategy.max_groups(40, 50), 8);
}

}  // namespace
}  // namespace sage::test
