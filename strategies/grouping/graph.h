// Neighbour graphs of sampled weights.
#pragma once

#include <cstdint>
#include <vector>

namespace sage::graph {

// n points of `dims` coordinates, point i at x[i * dims]. One-dimensional points are kept sorted.
struct Points {
  int dims = 1;
  std::vector<double> x;
  int64_t size() const { return static_cast<int64_t>(x.size()) / dims; }
};

enum class Affinity { kSelfTuned, kRbf, kBinary };
enum class Connect { kBridge, kNone };

struct Edge {
  int32_t i = 0;
  int32_t j = 0;  // i < j
  double weight = 0;
};
struct Graph {
  int32_t nodes = 0;
  std::vector<Edge> edges;         // by (i, j), each pair once
  std::vector<int32_t> component;  // of every node, numbered by first node
  int32_t components = 0;          // before bridging
};

// The k nearest neighbours of every point, symmetrised: A = (W + W^T) / 2, W_ij the affinity of j among i's neighbours, 0
// elsewhere.
//   selftune  exp(-d_ij^2 / (sigma_i sigma_j)), sigma_i the distance to the k-th neighbour (Zelnik-Manor and Perona, NIPS 2004)
//   rbf       max(exp(-d_ij^2 / (2 m^2)), 0.01), m the median of the sigma_i
//   binary    1
// bridge: while disconnected, every component but the largest is joined to its nearest other one by their closest pair, with
// the median weight of the graph. Sorted one-dimensional points: a sliding window, O(n k), and every edge spans at most k
// positions. Otherwise an R-tree, exact. Affinities that underflow to 0 are no edges. Equal distances are resolved towards the
// smaller index.
Graph neighbour_graph(const Points& points, int k, Affinity affinity, Connect connect);

}  // namespace sage::graph
