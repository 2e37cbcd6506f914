#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/util/random.h"
#include "strategies/grouping/clusters.h"
#include "strategies/grouping/graph_stage.h"
#include "strategies/grouping/spectrum.h"
#include "tests/support/fixture.h"

namespace sage::test {
namespace {

using namespace graph;

// 1001 quantiles of the normal distribution between its median and its 99.75 % point.
Points normal_nodes(int count = 1001) {
  Points p;
  for (int i = 0; i < count; ++i)
    p.x.push_back(normal_quantile(0.5 + 0.495 * (i + 0.5) / count));
  return p;
}

Points random_nodes(int count, int dims, uint64_t seed, double gap = 0) {
  Rng rng(seed, "nodes");
  Points p;
  p.dims = dims;
  for (int i = 0; i < count * dims; ++i)
    p.x.push_back(rng.normal() + (i / dims % 2 == 0 ? gap : 0));
  if (dims == 1) std::sort(p.x.begin(), p.x.end());
  return p;
}

Clustering at(const StageResult& r, int k) {
  for (const Clustering& c : r.by_k)
    if (c.k == k) return c;
  return {};
}

// --- golden ------------------------------------------------------------------------------------------------------------------

TEST(GraphStage, EigenvaluesOfNormalNodes) {
  const struct {
    int neighbours;
    std::vector<double> values;
  } cases[] = {{10, {.4082, 1.6367, 3.6875, 6.5611, 10.2577}}, {5, {.1469, .5870, 1.3197}}, {20, {1.439, 5.779, 13.03}}};
  for (const auto& c : cases) {
    StageOptions options;
    options.neighbours = c.neighbours;
    const StageResult r = cluster_points(normal_nodes(), options, 1);
    EXPECT_EQ(r.components, 1);
    EXPECT_NEAR(r.eigenvalues[0], 0, 1e-9);
    for (size_t j = 0; j < c.values.size(); ++j) {
      EXPECT_NEAR(r.eigenvalues[j + 1] * 1e4, c.values[j], 0.01 * c.values[j]) << "knn " << c.neighbours;
      const double square = static_cast<double>((j + 1) * (j + 1));
      EXPECT_NEAR(r.eigenvalues[j + 1] / r.eigenvalues[1], square, 0.01 * square);  // a path in rank
    }
  }
}

TEST(GraphStage, CentroidsAndSilhouettesOfNormalNodes) {
  const std::vector<std::vector<double>> centroids = {{.3215, 1.2329}, {.189, .678, 1.494}, {.135, .463, .917, 1.644}};
  const double feature[] = {.5637, .5312, .5236, .5197, .5180, .5165, .5157},
               embedding[] = {.7293, .6497, .6086, .5844, .5675, .5548, .5452};
  for (const uint64_t key : {1, 2, 3}) {
    StageOptions options;
    const StageResult by_feature = cluster_points(normal_nodes(), options, key);
    options.silhouette_space = SilhouetteSpace::kEmbedding;
    const StageResult by_embedding = cluster_points(normal_nodes(), options, key);
    EXPECT_EQ(by_feature.by_k[static_cast<size_t>(by_feature.chosen)].k, 2);
    EXPECT_EQ(by_embedding.by_k[static_cast<size_t>(by_embedding.chosen)].k, 2);
    for (int k = 2; k <= 8; ++k) {
      EXPECT_NEAR(at(by_feature, k).silhouette, feature[k - 2], k == 2 ? 1e-3 : 5e-3) << "K " << k;
      EXPECT_NEAR(at(by_embedding, k).silhouette, embedding[k - 2], k == 2 ? 1e-3 : 5e-3) << "K " << k;
    }
    for (const auto& expected : centroids) {
      const Clustering c = at(by_feature, static_cast<int>(expected.size()));
      ASSERT_EQ(c.centroids.size(), expected.size());
      for (size_t g = 0; g < expected.size(); ++g)
        EXPECT_NEAR(c.centroids[g], expected[g], 0.02);
    }
  }
}

// Scattered nodes, against an implementation that shares nothing with ours (k-d tree, ARPACK, scikit-learn): every option of
// the graph.
double scattered(uint64_t k) { return (static_cast<double>(fixture_permutation(k, 20)) + 0.5) / static_cast<double>(1 << 20); }

TEST(GraphStage, AgreesWithAnIndependentImplementationOnTheLine) {
  Points p;
  for (uint64_t k = 0; k < 3200; ++k)
    if (const double a = std::abs(normal_quantile(scattered(k))); a < 2.5758) p.x.push_back(a);
  std::sort(p.x.begin(), p.x.end());
  ASSERT_EQ(p.size(), 3166);
  const struct {
    int neighbours;
    Affinity affinity;
    SilhouetteSpace space;
    double silhouette[7];
    std::vector<double> five;  // centroids for K = 5
  } cases[] = {{10,
                Affinity::kSelfTuned,
                SilhouetteSpace::kFeature,
                {.5678, .5314, .5234, .5198, .5118, .5117, .5164},
                {.1125, .3784, .7225, 1.1008, 1.755}},
               {20,
                Affinity::kSelfTuned,
                SilhouetteSpace::kFeature,
                {.5678, .5347, .5223, .5207, .5139, .5092, .5143},
                {.1053, .3508, .6891, 1.084, 1.7557}},
               {10,
                Affinity::kRbf,
                SilhouetteSpace::kFeature,
                {.5936, .5795, .5534, .5229, .5418, .5354, .5259},
                {.1409, .4555, .7939, 1.2243, 1.927}},
               {10,
                Affinity::kBinary,
                SilhouetteSpace::kFeature,
                {.5678, .5312, .5204, .5209, .5148, .5110, .5131},
                {.1087, .3627, .701, 1.0897, 1.7579}},
               {10,
                Affinity::kSelfTuned,
                SilhouetteSpace::kEmbedding,
                {.7479, .6533, .6170, .5891, .5993, .5486, .5581},
                {.1125, .3784, .7225, 1.1008, 1.755}}};
  for (size_t c = 0; c < std::size(cases); ++c) {
    StageOptions options;
    options.neighbours = cases[c].neighbours;
    options.affinity = cases[c].affinity;
    options.silhouette_space = cases[c].space;
    const StageResult r = cluster_points(p, options, 1);
    EXPECT_EQ(r.by_k[static_cast<size_t>(r.chosen)].k, 2);
    for (int k = 2; k <= 8; ++k)
      EXPECT_NEAR(at(r, k).silhouette, cases[c].silhouette[k - 2], k <= 6 ? .002 : .006) << "case " << c << " K " << k;
    for (size_t g = 0; g < 5; ++g)
      EXPECT_NEAR(at(r, 5).centroids[g], cases[c].five[g], .005) << "case " << c;
  }
}

TEST(GraphStage, AgreesWithAnIndependentImplementationInSpace) {
  Points p;
  p.dims = 3;
  for (uint64_t k = 0; k < 1500; ++k) {
    p.x.push_back(std::abs(normal_quantile(scattered(k))));
    p.x.push_back(2 * scattered(5000 + k));
    p.x.push_back(2 * scattered(9000 + k));
  }
  const struct {
    Affinity affinity;
    double silhouette[5];
  } cases[] = {{Affinity::kSelfTuned, {.2368, .2345, .2528, .2573, .2546}},
               {Affinity::kRbf, {.2412, .2400, .2550, .2590, .2548}},
               {Affinity::kBinary, {.2347, .2355, .2528, .2581, .2551}}};
  for (const auto& c : cases) {
    StageOptions options;
    options.affinity = c.affinity;
    const StageResult r = cluster_points(p, options, 1);
    EXPECT_EQ(r.by_k[static_cast<size_t>(r.chosen)].k, 5);
    for (int k = 2; k <= 6; ++k)
      EXPECT_NEAR(at(r, k).silhouette, c.silhouette[k - 2], .003) << "K " << k;
  }
}

// The silhouette of the least-squares partition of the same nodes.
TEST(Silhouette, LloydPartitionOfNormalNodes) {
  const double expected[] = {.6135, .5774, .5608, .5509, .5442, .5393, .5354};
  const Points p = normal_nodes();
  for (int k = 2; k <= 8; ++k) {
    std::vector<double> cut;
    for (int g = 1; g < k; ++g)
      cut.push_back(p.x[static_cast<size_t>(g) * 1001 / static_cast<size_t>(k)]);
    std::vector<uint8_t> label(p.x.size());
    for (int step = 0; step < 5000; ++step) {
      std::vector<double> sum(static_cast<size_t>(k), 0.0), count(static_cast<size_t>(k), 0.0);
      for (size_t i = 0; i < p.x.size(); ++i) {
        label[i] = static_cast<uint8_t>(std::upper_bound(cut.begin(), cut.end(), p.x[i]) - cut.begin());
        sum[label[i]] += p.x[i];
        count[label[i]] += 1;
      }
      for (size_t g = 0; g + 1 < static_cast<size_t>(k); ++g)
        cut[g] = (sum[g] / count[g] + sum[g + 1] / count[g + 1]) / 2;
    }
    EXPECT_NEAR(silhouette_line(p.x, label, k), expected[k - 2], 1e-3) << "K " << k;
  }
}

// Noiseless equal-count groups: normal .564 .527 .519 .516 .515 .515 .515, Laplace .512 .478 .483 .488 .493 .497 .500.
TEST(Silhouette, EqualCountGroups) {
  const double normal[] = {.564, .527, .519, .516, .515, .515, .515}, laplace[] = {.512, .478, .483, .488, .493, .497, .500};
  for (const bool gauss : {true, false}) {
    std::vector<double> x;
    for (int i = 0; i < 20000; ++i) {
      const double p = 0.99 * (i + 0.5) / 20000;  // |w| below its 99 % point
      x.push_back(gauss ? normal_quantile(0.5 + p / 2) : -std::log(1 - p));
    }
    for (int k = 2; k <= 8; ++k) {
      std::vector<uint8_t> label(x.size());
      for (size_t i = 0; i < x.size(); ++i)
        label[i] = static_cast<uint8_t>(i * static_cast<size_t>(k) / x.size());
      EXPECT_NEAR(silhouette_line(x, label, k), gauss ? normal[k - 2] : laplace[k - 2], 1.5e-3)
          << "K " << k << (gauss ? " normal" : " Laplace");
    }
  }
}

// --- graph -------------------------------------------------------------------------------------------------------------------

// The definition, pair by pair.
std::vector<double> dense_affinity(const Points& p, int k, Affinity affinity) {
  const size_t n = static_cast<size_t>(p.size());
  const auto distance = [&](size_t i, size_t j) {
    double s = 0;
    for (size_t d = 0; d < static_cast<size_t>(p.dims); ++d)
      s += std::pow(p.x[i * p.dims + d] - p.x[j * p.dims + d], 2);
    return std::sqrt(s);
  };
  std::vector<double> sigma(n), out(n * n, 0.0);
  std::vector<std::vector<size_t>> near(n);
  for (size_t i = 0; i < n; ++i) {
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    order.erase(order.begin() + static_cast<int64_t>(i));
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return distance(i, a) < distance(i, b); });
    near[i].assign(order.begin(), order.begin() + k);
    sigma[i] = distance(i, near[i].back());
  }
  std::vector<double> sorted = sigma;
  std::sort(sorted.begin(), sorted.end());
  const double m = n % 2 == 1 ? sorted[n / 2] : (sorted[n / 2] + sorted[n / 2 - 1]) / 2;
  for (size_t i = 0; i < n; ++i)
    for (const size_t j : near[i]) {
      const double d = distance(i, j);
      const double w = affinity == Affinity::kSelfTuned ? std::exp(-d * d / (sigma[i] * sigma[j]))
                       : affinity == Affinity::kRbf     ? std::max(std::exp(-d * d / (2 * m * m)), 0.01)
                                                        : 1.0;
      out[i * n + j] += w / 2;
      out[j * n + i] += w / 2;
    }
  return out;
}

TEST(NeighbourGraph, MatchesTheDefinition) {
  for (const int dims : {1, 3})
    for (const Affinity affinity : {Affinity::kSelfTuned, Affinity::kRbf, Affinity::kBinary}) {
      const Points p = random_nodes(120, dims, 7);
      const Graph g = neighbour_graph(p, 6, affinity, Connect::kNone);
      const std::vector<double> expected = dense_affinity(p, 6, affinity);
      std::vector<double> found(expected.size(), 0.0);
      for (const Edge& e : g.edges) {
        ASSERT_LT(e.i, e.j);
        found[static_cast<size_t>(e.i) * 120 + e.j] = found[static_cast<size_t>(e.j) * 120 + e.i] = e.weight;
      }
      for (size_t k = 0; k < expected.size(); ++k)
        ASSERT_NEAR(found[k], expected[k], 1e-12) << dims;
    }
}

TEST(NeighbourGraph, BridgesJoinComponents) {
  for (const int dims : {1, 3}) {
    Points p = random_nodes(60, dims, 3);
    const double step = 100;
    for (size_t i = 0; i < 60; ++i)
      p.x[i * dims] += step * static_cast<double>(i / 15);  // four clumps of 15
    const Graph apart = neighbour_graph(p, 4, Affinity::kBinary, Connect::kNone),
                joined = neighbour_graph(p, 4, Affinity::kBinary, Connect::kBridge);
    EXPECT_EQ(apart.components, joined.components);
    EXPECT_GE(apart.components, 4);
    EXPECT_EQ(*std::max_element(joined.component.begin(), joined.component.end()), 0);
    EXPECT_GT(joined.edges.size(), apart.edges.size());
    EXPECT_LE(joined.edges.size(), apart.edges.size() + static_cast<size_t>(apart.components) - 1);
  }
}

// --- spectrum ----------------------------------------------------------------------------------------------------------------

void expect_eigenpairs(const Graph& g, const Spectrum& s, double tolerance) {
  const size_t n = static_cast<size_t>(g.nodes);
  std::vector<double> degree(n, 0.0);
  for (const Edge& e : g.edges)
    degree[e.i] += e.weight, degree[e.j] += e.weight;
  for (size_t k = 0; k < s.values.size(); ++k) {
    std::vector<double> image = s.vectors[k];
    for (const Edge& e : g.edges) {
      const double a = e.weight / std::sqrt(degree[e.i] * degree[e.j]);
      image[e.i] -= a * s.vectors[k][e.j];
      image[e.j] -= a * s.vectors[k][e.i];
    }
    double residual = 0;
    for (size_t i = 0; i < n; ++i)
      residual += std::pow(image[i] - s.values[k] * s.vectors[k][i], 2);
    EXPECT_LT(std::sqrt(residual), tolerance) << "pair " << k;
    for (size_t l = 0; l <= k; ++l)
      EXPECT_NEAR(std::inner_product(s.vectors[k].begin(), s.vectors[k].end(), s.vectors[l].begin(), 0.0), k == l ? 1.0 : 0.0,
                  1e-6);
    if (k > 0) {
      EXPECT_GE(s.values[k], s.values[k - 1]);
    }
  }
}

TEST(Spectrum, PairsSatisfyTheirEquation) {
  for (const int dims : {1, 3})
    for (const int n : {20, 400, 2500}) {
      const Graph g = neighbour_graph(random_nodes(n, dims, 11), 8, Affinity::kSelfTuned, Connect::kBridge);
      const Spectrum s = smallest_eigenpairs(g, 8, 5);
      EXPECT_NEAR(s.values[0], 0, 1e-9);
      EXPECT_GT(s.values[1], 1e-9);
      expect_eigenpairs(g, s, 1e-6);
    }
}

// Lanczos must not skip one of several equal eigenvalues: as many zeros as components.
TEST(Spectrum, EveryComponentHasItsZero) {
  Points p = random_nodes(900, 1, 3);
  for (size_t i = 0; i < 900; ++i)
    p.x[i] += 1000.0 * static_cast<double>(i / 300);
  const Graph g = neighbour_graph(p, 10, Affinity::kSelfTuned, Connect::kNone);
  const Spectrum s = smallest_eigenpairs(g, 8, 5);
  ASSERT_GE(g.components, 3);
  ASSERT_LT(g.components, 8);
  for (int k = 0; k < g.components; ++k)
    EXPECT_NEAR(s.values[static_cast<size_t>(k)], 0, 1e-9);
  EXPECT_GT(s.values[static_cast<size_t>(g.components)], 1e-7);
  expect_eigenpairs(g, s, 1e-6);
}

// --- stage -------------------------------------------------------------------------------------------------------------------

TEST(GraphStage, FindsSeparatedClumps) {
  for (const int dims : {1, 3}) {
    Points p = random_nodes(600, dims, 13);
    for (size_t i = 0; i < 600; ++i)
      for (int d = 0; d < dims; ++d)
        p.x[i * dims + d] = 0.1 * p.x[i * dims + d] + static_cast<double>(i % 3) * 3;
    if (dims == 1) std::sort(p.x.begin(), p.x.end());
    for (const Connect connect : {Connect::kBridge, Connect::kNone}) {
      StageOptions options;
      options.connect = connect;
      const StageResult r = cluster_points(p, options, 2);
      EXPECT_GE(r.components, 3);
      EXPECT_EQ(r.by_k[static_cast<size_t>(r.chosen)].k, 3) << dims;
      const Clustering three = at(r, 3);
      for (const int64_t size : three.sizes)
        EXPECT_NEAR(static_cast<double>(size), 200, 2);  // the ends of a bridge may change sides
      for (size_t g = 0; g < 3; ++g)
        EXPECT_NEAR(three.centroids[g * dims], 3.0 * static_cast<double>(g), 0.05);
    }
  }
}

TEST(GraphStage, ExactLineSilhouetteEqualsPairwise) {
  const Points p = random_nodes(500, 1, 17);
  Embedding e{500, 1, std::vector<float>(p.x.begin(), p.x.end())};
  std::vector<double> rounded(e.x.begin(), e.x.end());
  Rng rng(1, "labels");
  for (const int k : {2, 5}) {
    std::vector<uint8_t> label(500);
    for (auto& l : label)
      l = static_cast<uint8_t>(rng.below(static_cast<uint64_t>(k)));
    label[7] = static_cast<uint8_t>(k);  // a cluster of one scores 0
    EXPECT_NEAR(silhouette_line(rounded, label, k + 1), silhouette_pairs(e, label, k + 1, 5033, 1), 1e-5);
  }
  EXPECT_EQ(silhouette_line(rounded, std::vector<uint8_t>(500, 0), 2), -1.0);
  EXPECT_EQ(silhouette_pairs(e, std::vector<uint8_t>(500, 0), 2, 5033, 1), -1.0);
}

TEST(GraphStage, ForcedKMatchesTheSameKOfTheSearch) {
  StageOptions options, forced;
  forced.forced = 4;
  const StageResult all = cluster_points(normal_nodes(), options, 1), one = cluster_points(normal_nodes(), forced, 1);
  ASSERT_EQ(one.by_k.size(), 1u);
  ASSERT_EQ(one.by_k[0].k, 4);
  for (size_t g = 0; g < 4; ++g)
    EXPECT_NEAR(one.by_k[0].centroids[g], at(all, 4).centroids[g], 0.01);
}

TEST(GraphStage, FewAndEqualNodes) {
  for (const int n : {3, 4, 12, 300}) {
    Points p;
    p.x.assign(static_cast<size_t>(n), 0.25);
    const StageResult r = cluster_points(p, {}, 1);
    ASSERT_FALSE(r.by_k.empty());
    for (const double c : r.by_k[static_cast<size_t>(r.chosen)].centroids)
      EXPECT_DOUBLE_EQ(c, 0.25);
    for (const double v : r.eigenvalues)
      EXPECT_TRUE(std::isfinite(v));
  }
}

TEST(GraphStage, ScalingTheNodesScalesTheCentroids) {
  Points a = random_nodes(800, 1, 19), b = a;
  for (double& x : b.x)
    x *= 0.25;
  for (const Affinity affinity : {Affinity::kSelfTuned, Affinity::kRbf, Affinity::kBinary}) {
    StageOptions options;
    options.affinity = affinity;
    const StageResult x = cluster_points(a, options, 1), y = cluster_points(b, options, 1);
    ASSERT_EQ(x.chosen, y.chosen);
    const auto& cx = x.by_k[static_cast<size_t>(x.chosen)].centroids;
    const auto& cy = y.by_k[static_cast<size_t>(y.chosen)].centroids;
    for (size_t g = 0; g < cx.size(); ++g)
      EXPECT_NEAR(cx[g] * 0.25, cy[g], 1e-9);
  }
}

}  // namespace
}  // namespace sage::test
