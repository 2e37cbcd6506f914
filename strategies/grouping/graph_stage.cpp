#include "strategies/grouping/graph_stage.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "strategies/grouping/clusters.h"
#include "strategies/grouping/spectrum.h"

namespace sage::graph {
namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double s = std::chrono::duration<double>(now - since_).count();
    since_ = now;
    return s;
  }

 private:
  std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
};

Embedding embed(const Spectrum& s, int k, int64_t n) {
  Embedding e{n, k, std::vector<float>(static_cast<size_t>(k * n))};
  std::vector<double> length(static_cast<size_t>(n), 0.0);
  for (int d = 0; d < k; ++d)
    for (int64_t i = 0; i < n; ++i)
      length[i] += s.vectors[d][i] * s.vectors[d][i];
  for (double& l : length)
    l = 1.0 / (std::sqrt(l) + 1e-12);
  for (int d = 0; d < k; ++d)
    for (int64_t i = 0; i < n; ++i)
      e.x[d * n + i] = static_cast<float>(s.vectors[d][i] * length[i]);
  return e;
}

Embedding coordinates(const Points& p) {
  const int64_t n = p.size();
  Embedding e{n, p.dims, std::vector<float>(static_cast<size_t>(n * p.dims))};
  for (int64_t i = 0; i < n; ++i)
    for (int d = 0; d < p.dims; ++d)
      e.x[d * n + i] = static_cast<float>(p.x[i * p.dims + d]);
  return e;
}

Clustering describe(const Points& p, const std::vector<uint8_t>& label, int k) {
  struct Cluster {
    std::vector<double> centre;
    int64_t size = 0;
    double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  };
  std::vector<Cluster> clusters(static_cast<size_t>(k));
  for (Cluster& c : clusters)
    c.centre.assign(static_cast<size_t>(p.dims), 0.0);
  for (int64_t i = 0; i < p.size(); ++i) {
    Cluster& c = clusters[label[i]];
    ++c.size;
    const double* x = p.x.data() + i * p.dims;
    for (int d = 0; d < p.dims; ++d)
      c.centre[d] += x[d];
    c.low = std::min(c.low, x[0]);
    c.high = std::max(c.high, x[0]);
  }
  std::erase_if(clusters, [](const Cluster& c) { return c.size == 0; });
  for (Cluster& c : clusters)
    for (double& v : c.centre)
      v /= static_cast<double>(c.size);
  std::sort(clusters.begin(), clusters.end(), [](const Cluster& a, const Cluster& b) { return a.centre < b.centre; });
  Clustering out;
  out.k = k;
  for (size_t c = 0; c < clusters.size(); ++c) {
    out.centroids.insert(out.centroids.end(), clusters[c].centre.begin(), clusters[c].centre.end());
    out.sizes.push_back(clusters[c].size);
    if (p.dims == 1 && c > 0) {
      const double between = (clusters[c - 1].high + clusters[c].low) / 2;
      out.boundaries.push_back(out.boundaries.empty() ? between : std::max(out.boundaries.back(), between));
    }
  }
  return out;
}

}  // namespace

StageResult cluster_points(const Points& points, const StageOptions& options, uint64_t key) {
  StageResult out;
  Stopwatch watch;
  const int64_t n = points.size();
  const int most = static_cast<int>(std::max<int64_t>(1, n - 1));
  const int low = std::min(most, options.forced.value_or(options.kmin)),
            high = std::min(most, options.forced.value_or(options.kmax));
  const Graph graph = neighbour_graph(points, options.neighbours, options.affinity, options.connect);
  out.components = graph.components;
  out.seconds_graph = watch.lap();
  const Spectrum spectrum = smallest_eigenpairs(graph, high, key);
  out.eigenvalues = spectrum.values;
  out.seconds_eigen = watch.lap();

  const int count = high - low + 1;
  std::vector<std::vector<uint8_t>> labels(static_cast<size_t>(count));
  std::vector<Embedding> embeddings(static_cast<size_t>(count));
  // The largest K takes longest: hand it out first.
#pragma omp parallel for schedule(dynamic, 1)
  for (int c = count - 1; c >= 0; --c) {
    Embedding e = embed(spectrum, low + c, n);
    labels[c] = kmeans_labels(e, low + c, 3, key ^ 0x6b6d65616e73ull);
    if (options.silhouette_space == SilhouetteSpace::kEmbedding) embeddings[c] = std::move(e);
  }
  out.seconds_cluster = watch.lap();

  for (int c = 0; c < count; ++c) {
    Clustering k = describe(points, labels[c], low + c);
    if (!options.forced) {
      if (options.silhouette_space == SilhouetteSpace::kEmbedding) {
        k.silhouette = silhouette_pairs(embeddings[c], labels[c], low + c, options.silhouette_sample, key);
      } else if (points.dims == 1) {
        k.silhouette = silhouette_line(points.x, labels[c], low + c);
      } else {
        k.silhouette = silhouette_pairs(coordinates(points), labels[c], low + c, options.silhouette_sample, key);
      }
      if (c > 0 && k.silhouette > out.by_k[out.chosen].silhouette) out.chosen = c;
    }
    out.by_k.push_back(std::move(k));
  }
  out.seconds_silhouette = watch.lap();
  return out;
}

}  // namespace sage::graph
