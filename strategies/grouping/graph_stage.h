// The spectral clustering of sampled weights: how many groups, and where they lie.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "strategies/grouping/graph.h"

namespace sage::graph {

enum class SilhouetteSpace { kFeature, kEmbedding };

struct StageOptions {
  int neighbours = 10;
  Affinity affinity = Affinity::kSelfTuned;
  Connect connect = Connect::kBridge;
  int kmin = 2;
  int kmax = 8;
  std::optional<int> forced;  // only this many clusters, no silhouette
  SilhouetteSpace silhouette_space = SilhouetteSpace::kFeature;
  int64_t silhouette_sample = 5033;  // for pairwise silhouettes
};

struct Clustering {
  int k = 0;                       // clusters asked for
  std::vector<double> centroids;   // of the clusters that are not empty, ascending (by coordinate): clusters x dims
  std::vector<double> boundaries;  // one-dimensional points: between neighbouring clusters, halfway from last to first point
  std::vector<int64_t> sizes;
  double silhouette = 0;
};

struct StageResult {
  int chosen = 0;  // index into by_k
  std::vector<Clustering> by_k;
  std::vector<double> eigenvalues;
  int32_t components = 0;  // of the graph before bridging
  double seconds_graph = 0, seconds_eigen = 0, seconds_cluster = 0, seconds_silhouette = 0;
};

// Neighbour graph -> smallest eigenvectors of its normalised Laplacian -> for every K: rows of the first K eigenvectors scaled
// to length 1, k-means (3 starts) -> silhouette, over the points themselves (exact for one dimension) or over the embedding.
// Chosen is the first K with the largest silhouette. One-dimensional points must ascend. At least 3 points. Equal points and
// keys give equal results.
StageResult cluster_points(const Points& points, const StageOptions& options, uint64_t key);

}  // namespace sage::graph
