// Clusters of points and how well they are separated.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace sage::graph {

// Coordinates by dimension: coordinate d of point i is x[d * points + i].
struct Embedding {
  int64_t points = 0;
  int dims = 0;
  std::vector<float> x;
};

// k-means: `starts` runs of k-means++ seeding (from key) and Lloyd's iteration until the centres move by less than 1e-4 of the
// mean variance, or 300 steps; the labels of the run with the least inertia. Runs start on at most 2048 evenly strided points
// and finish on all, which loses nothing where the points are dense. Clusters may come out empty when fewer than k points
// differ.
std::vector<uint8_t> kmeans_labels(const Embedding& e, int k, int starts, uint64_t key);

// Mean silhouette (b - a) / max(a, b) of one-dimensional points by prefix sums, exact: a the mean distance to the other points
// of the own cluster, b the least mean distance to another cluster; 0 for a cluster of one. x ascending. O(n k). -1 with fewer
// than 2 clusters.
double silhouette_line(std::span<const double> x, std::span<const uint8_t> label, int k);

// The same for any points, pair by pair, over at most `sample` of them (drawn without replacement from key). O(min(n, sample)^2
// dims).
double silhouette_pairs(const Embedding& e, std::span<const uint8_t> label, int k, int64_t sample, uint64_t key);

}  // namespace sage::graph
