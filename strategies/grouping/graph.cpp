#include "strategies/grouping/graph.h"

#include <algorithm>
#define BOOST_ALLOW_DEPRECATED_HEADERS  // Boost 1.74 includes one of its own
#include <boost/geometry.hpp>
#include <boost/geometry/index/rtree.hpp>
#include <cmath>
#include <limits>
#include <numeric>

namespace sage::graph {
namespace {

namespace bg = boost::geometry;
namespace bgi = boost::geometry::index;
constexpr int kTreeDims = 3;
using TreePoint = bg::model::point<double, kTreeDims, bg::cs::cartesian>;
using TreeValue = std::pair<TreePoint, int32_t>;
using Tree = bgi::rtree<TreeValue, bgi::linear<16>>;

TreePoint tree_point(const Points& p, int64_t i) {
  const double* x = p.x.data() + i * p.dims;
  return {x[0], p.dims > 1 ? x[1] : 0.0, p.dims > 2 ? x[2] : 0.0};
}
Tree make_tree(const Points& p) {
  std::vector<TreeValue> values;
  for (int64_t i = 0; i < p.size(); ++i)
    values.emplace_back(tree_point(p, i), static_cast<int32_t>(i));
  return Tree(values);
}

struct Neighbours {
  int k = 0;
  std::vector<int32_t> index;  // k per point, nearest first
  std::vector<double> distance;
};

Neighbours nearest_sorted(const Points& p, int k) {
  const int32_t n = static_cast<int32_t>(p.size());
  Neighbours out{k, std::vector<int32_t>(static_cast<size_t>(n) * k), std::vector<double>(static_cast<size_t>(n) * k)};
  for (int32_t i = 0; i < n; ++i) {
    int32_t left = i - 1, right = i + 1;
    for (int t = 0; t < k; ++t) {
      const double dl = left >= 0 ? p.x[i] - p.x[left] : std::numeric_limits<double>::infinity();
      const double dr = right < n ? p.x[right] - p.x[i] : std::numeric_limits<double>::infinity();
      const bool take_left = dl < dr || (dl == dr && i - left <= right - i);  // equal points: stay symmetric around i
      const size_t at = static_cast<size_t>(i) * k + t;
      out.distance[at] = take_left ? dl : dr;
      out.index[at] = take_left ? left-- : right++;
    }
  }
  return out;
}

Neighbours nearest_in_space(const Points& p, const Tree& tree, int k) {
  const int32_t n = static_cast<int32_t>(p.size());
  Neighbours out{k, std::vector<int32_t>(static_cast<size_t>(n) * k), std::vector<double>(static_cast<size_t>(n) * k)};
#pragma omp parallel for schedule(static)
  for (int32_t i = 0; i < n; ++i) {
    const TreePoint at = tree_point(p, i);
    std::vector<std::pair<double, int32_t>> found;
    for (auto it = tree.qbegin(bgi::nearest(at, static_cast<unsigned>(k) + 1) &&
                               bgi::satisfies([i](const TreeValue& v) { return v.second != i; }));
         it != tree.qend() && static_cast<int>(found.size()) < k; ++it)
      found.emplace_back(bg::distance(at, it->first), it->second);
    std::sort(found.begin(), found.end());
    for (int t = 0; t < k; ++t) {
      out.distance[static_cast<size_t>(i) * k + t] = found[static_cast<size_t>(t)].first;
      out.index[static_cast<size_t>(i) * k + t] = found[static_cast<size_t>(t)].second;
    }
  }
  return out;
}

double median(std::vector<double> v) {  // the mean of the middle two for even counts
  const size_t h = v.size() / 2;
  std::nth_element(v.begin(), v.begin() + static_cast<int64_t>(h), v.end());
  if (v.size() % 2 == 1) return v[h];
  return (v[h] + *std::max_element(v.begin(), v.begin() + static_cast<int64_t>(h))) / 2;
}

void label_components(Graph& g) {
  std::vector<int32_t> root(static_cast<size_t>(g.nodes));
  std::iota(root.begin(), root.end(), 0);
  const auto find = [&root](int32_t v) {
    while (root[v] != v)
      v = root[v] = root[root[v]];
    return v;
  };
  for (const Edge& e : g.edges) {
    const int32_t a = find(e.i), b = find(e.j);
    if (a != b) root[std::max(a, b)] = std::min(a, b);
  }
  g.component.assign(static_cast<size_t>(g.nodes), 0);
  g.components = 0;
  for (int32_t v = 0; v < g.nodes; ++v)
    g.component[v] = find(v) == v ? g.components++ : g.component[find(v)];
}

void add_edges(Graph& g, std::vector<Edge> more) {
  g.edges.insert(g.edges.end(), more.begin(), more.end());
  std::stable_sort(g.edges.begin(), g.edges.end(),
                   [](const Edge& a, const Edge& b) { return a.i != b.i ? a.i < b.i : a.j < b.j; });
  size_t kept = 0;
  for (size_t e = 0; e < g.edges.size(); ++e) {
    if (kept > 0 && g.edges[kept - 1].i == g.edges[e].i && g.edges[kept - 1].j == g.edges[e].j) {
      g.edges[kept - 1].weight += g.edges[e].weight;
    } else {
      g.edges[kept++] = g.edges[e];
    }
  }
  g.edges.resize(kept);
}

// The closest pair (i in c, j elsewhere) of every component but the largest.
std::vector<Edge> bridges(const Graph& g, const Points& p, const Tree* tree, double weight) {
  std::vector<int64_t> size(static_cast<size_t>(g.components), 0);
  for (const int32_t c : g.component)
    ++size[static_cast<size_t>(c)];
  const int32_t largest = static_cast<int32_t>(std::max_element(size.begin(), size.end()) - size.begin());
  struct Pair {
    double distance = std::numeric_limits<double>::infinity();
    int32_t i = 0, j = 0;
  };
  std::vector<Pair> best(static_cast<size_t>(g.components));
  for (int32_t i = 0; i < g.nodes; ++i) {
    const int32_t c = g.component[static_cast<size_t>(i)];
    if (c == largest) continue;
    Pair& b = best[static_cast<size_t>(c)];
    const auto offer = [&](int32_t j, double d) {
      if (d < b.distance) b = {d, i, j};
    };
    if (tree == nullptr) {  // components of a sorted line are intervals: only the neighbours of their ends can be closest
      if (i > 0 && g.component[static_cast<size_t>(i) - 1] != c) offer(i - 1, p.x[i] - p.x[i - 1]);
      if (i + 1 < g.nodes && g.component[static_cast<size_t>(i) + 1] != c) offer(i + 1, p.x[i + 1] - p.x[i]);
    } else {
      const TreePoint at = tree_point(p, i);
      for (auto it = tree->qbegin(bgi::nearest(at, 1) && bgi::satisfies([&](const TreeValue& v) {
                                    return g.component[static_cast<size_t>(v.second)] != c;
                                  }));
           it != tree->qend(); ++it)
        offer(it->second, bg::distance(at, it->first));
    }
  }
  std::vector<Edge> out;
  for (int32_t c = 0; c < g.components; ++c)
    if (c != largest) {
      const Pair& b = best[static_cast<size_t>(c)];
      out.push_back({std::min(b.i, b.j), std::max(b.i, b.j), weight});
    }
  return out;
}

}  // namespace

Graph neighbour_graph(const Points& points, int k, Affinity affinity, Connect connect) {
  const int32_t n = static_cast<int32_t>(points.size());
  k = std::min(k, n - 1);
  const bool line = points.dims == 1;
  const Tree tree = line ? Tree() : make_tree(points);
  const Neighbours near = line ? nearest_sorted(points, k) : nearest_in_space(points, tree, k);
  std::vector<double> sigma(static_cast<size_t>(n));
  for (int32_t i = 0; i < n; ++i)
    sigma[i] = std::max(near.distance[static_cast<size_t>(i) * k + k - 1], 1e-12);
  const double width = affinity == Affinity::kRbf ? median(sigma) : 0.0;
  const auto weight = [&](int32_t i, int32_t j, double d) {
    if (affinity == Affinity::kSelfTuned) return std::exp(-d * d / (sigma[i] * sigma[j]));
    if (affinity == Affinity::kRbf) return std::max(std::exp(-d * d / (2 * width * width + 1e-30)), 1e-2);
    return 1.0;
  };
  Graph g;
  g.nodes = n;
  if (line) {
    // Neighbours lie within k positions: a band is filled instead of sorting an edge list.
    std::vector<double> band(static_cast<size_t>(n) * k, 0.0);
    for (int32_t i = 0; i < n; ++i)
      for (int t = 0; t < k; ++t) {
        const int32_t j = near.index[static_cast<size_t>(i) * k + t], a = std::min(i, j), b = std::max(i, j);
        band[static_cast<size_t>(a) * k + (b - a - 1)] += weight(i, j, near.distance[static_cast<size_t>(i) * k + t]) / 2;
      }
    g.edges.reserve(static_cast<size_t>(n) * k);
    for (int32_t i = 0; i < n; ++i)
      for (int t = 0; t < k; ++t)
        if (band[static_cast<size_t>(i) * k + t] > 0) g.edges.push_back({i, i + t + 1, band[static_cast<size_t>(i) * k + t]});
  } else {
    std::vector<Edge> all;
    for (int32_t i = 0; i < n; ++i)
      for (int t = 0; t < k; ++t) {
        const int32_t j = near.index[static_cast<size_t>(i) * k + t];
        const double w = weight(i, j, near.distance[static_cast<size_t>(i) * k + t]) / 2;
        if (w > 0) all.push_back({std::min(i, j), std::max(i, j), w});
      }
    add_edges(g, std::move(all));
  }
  label_components(g);
  const int32_t before = g.components;
  while (connect == Connect::kBridge && g.components > 1) {
    std::vector<double> weights;
    for (const Edge& e : g.edges)
      weights.push_back(e.weight);
    add_edges(g, bridges(g, points, line ? nullptr : &tree, weights.empty() ? 1.0 : median(std::move(weights))));
    label_components(g);
  }
  g.components = before;
  return g;
}

}  // namespace sage::graph
