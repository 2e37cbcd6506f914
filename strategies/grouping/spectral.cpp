#include "strategies/grouping/spectral.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/util/errors.h"
#include "strategies/grouping/features.h"
#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/magnitude_profile.h"
#include "strategies/grouping/options.h"

namespace sage {
namespace {

using graph::Clustering;
using graph::FeatureSpace;
using graph::Points;

size_t nearest(const std::vector<double>& centroids, const double* x, int dims) {
  size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (size_t g = 0; g * dims < centroids.size(); ++g) {
    double d = 0;
    for (int k = 0; k < dims; ++k)
      d += (x[k] - centroids[g * dims + k]) * (x[k] - centroids[g * dims + k]);
    if (d < least) {
      least = d;
      best = g;
    }
  }
  return best;
}

// Lloyd steps over the nodes; an empty cluster keeps its mean.
void refine_centroids(const Points& p, std::vector<double>& centroids, int steps) {
  const size_t dims = static_cast<size_t>(p.dims);
  for (int step = 0; step < steps; ++step) {
    std::vector<double> sum(centroids.size(), 0.0), count(centroids.size() / dims, 0.0);
    for (size_t i = 0; i < p.x.size() / dims; ++i) {
      const size_t g = nearest(centroids, p.x.data() + i * dims, p.dims);
      count[g] += 1;
      for (size_t d = 0; d < dims; ++d)
        sum[g * dims + d] += p.x[i * dims + d];
    }
    bool moved = false;
    for (size_t g = 0; g < count.size(); ++g)
      for (size_t d = 0; d < dims && count[g] > 0; ++d) {
        const double mean = sum[g * dims + d] / count[g];
        moved |= mean != centroids[g * dims + d];
        centroids[g * dims + d] = mean;
      }
    if (!moved) return;
  }
}

std::vector<double> midpoints(const std::vector<double>& c) {
  std::vector<double> out;
  for (size_t g = 1; g < c.size(); ++g)
    out.push_back((c[g - 1] + c[g]) / 2);
  return out;
}

// Groups of a feature other than |w| alone: by intervals of w (signed) or by the nearest of several means.
class FeatureGroups final : public GroupingModel {
 public:
  FeatureGroups(FeatureSpace space, std::vector<double> centroids, std::vector<double> cuts)
      : space_(std::move(space)), centroids_(std::move(centroids)), cuts_(std::move(cuts)) {}
  int64_t groups() const override { return static_cast<int64_t>(centroids_.size()) / space_.dims(); }
  GroupMap assign(const BlockContext& ctx, const SaliencyMask& mask) const override {
    const WeightView w = ctx.weights;
    GroupMap map = element_layout(w.rows, w.cols, groups());
    if (map.shape == LabelShape::kSingle) return map;
    map.element.resize(static_cast<size_t>(w.size()));
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.cols; ++j) {
        double x[3];
        space_.map(w(i, j), i, j, x);
        const size_t g = space_.dims() == 1
                             ? static_cast<size_t>(std::upper_bound(cuts_.begin(), cuts_.end(), x[0]) - cuts_.begin())
                             : nearest(centroids_, x, space_.dims());
        map.element[static_cast<size_t>(i * w.cols + j)] = static_cast<uint8_t>(g);
      }
    clear_salient(map, mask);
    return map;
  }

 private:
  FeatureSpace space_;
  std::vector<double> centroids_, cuts_;
};

void report(Trace* trace, const graph::StageResult& r, const Clustering& chosen, int64_t nodes, const FeatureSpace& space) {
  if (trace == nullptr) return;
  trace->scalar("grouping.K", static_cast<double>(chosen.sizes.size()));
  trace->scalar("grouping.nodes", static_cast<double>(nodes));
  trace->scalar("grouping.components", r.components);
  trace->scalar("grouping.seconds_graph", r.seconds_graph);
  trace->scalar("grouping.seconds_eigen", r.seconds_eigen);
  trace->scalar("grouping.seconds_cluster", r.seconds_cluster);
  trace->scalar("grouping.seconds_silhouette", r.seconds_silhouette);
  if (!trace->enabled()) return;
  std::vector<double> k, silhouette, centroids = chosen.centroids;
  for (const Clustering& c : r.by_k) {
    k.push_back(c.k);
    silhouette.push_back(c.silhouette);
  }
  for (size_t c = 0; c < centroids.size(); c += static_cast<size_t>(space.dims()))
    centroids[c] *= space.unit();
  const int64_t count = static_cast<int64_t>(k.size());
  trace->array("grouping.eigenvalues", {static_cast<int64_t>(r.eigenvalues.size())}, r.eigenvalues);
  trace->array("grouping.silhouette_K", {count}, std::move(k));
  trace->array("grouping.silhouette", {count}, std::move(silhouette));
  trace->array("grouping.centroids", {static_cast<int64_t>(chosen.sizes.size()), space.dims()}, std::move(centroids));
}

}  // namespace

Schema<SpectralGrouping::Params> SpectralGrouping::schema() {
  using graph::Affinity;
  using graph::Connect;
  using graph::SilhouetteSpace;
  return Schema<Params>{}
      .add("feature", &Params::feature,
           choices<Feature>({{"abs", Feature::kAbs},
                             {"signed", Feature::kSigned},
                             {"abs_rowcol", Feature::kAbsRowCol},
                             {"abs_pos", Feature::kAbsPos}}),
           "What a node is: |w|; w; |w| with the mean |w| of its row and column; |w| with its position.")
      .add("sub_frac", &Params::sub_frac, range(0.0, 1.0), "Nodes as a share of the weights.")
      .add("nmin", &Params::nmin, range(3, 1 << 20), "Fewest nodes.")
      .add("nmax", &Params::nmax, range(3, 1 << 20), "Most nodes.")
      .add("knn", &Params::knn, range(1, 1000), "Neighbours per node.")
      .add("affinity", &Params::affinity,
           choices<Affinity>({{"selftune", Affinity::kSelfTuned}, {"rbf", Affinity::kRbf}, {"binary", Affinity::kBinary}}),
           "Edge weights: by local scales, by one global scale (floor 0.01), or 1.")
      .add("connect", &Params::connect, choices<Connect>({{"bridge", Connect::kBridge}, {"none", Connect::kNone}}),
           "Whether components of the graph are joined by their closest pairs.")
      .add("kmin", &Params::kmin, range(1, 64), "Smallest K considered.")
      .add("kmax", &Params::kmax, range(1, 64), "Largest K considered.")
      .add("groups", &Params::groups, range(1, 64), "K, instead of choosing it.")
      .add("sil_space", &Params::sil_space,
           choices<SilhouetteSpace>({{"feature", SilhouetteSpace::kFeature}, {"embedding", SilhouetteSpace::kEmbedding}}),
           "Where silhouettes are measured: among the nodes, or among the rows of the eigenvectors.")
      .add("sil_sample", &Params::sil_sample, range(3, 1 << 20), "Nodes used where silhouettes are computed pair by pair.")
      .add("assign", &Params::assign, choices<Assign>({{"centroid", Assign::kCentroid}, {"boundary", Assign::kBoundary}}),
           "Whether weights go to the nearest cluster mean or by the clusters' outermost nodes (one-dimensional features).")
      .add("refine", &Params::refine, range(0, 100000), "Lloyd steps after the clustering.");
}

SpectralGrouping::SpectralGrouping(Params p) : params_(p) {
  if (p.kmin > p.kmax)
    throw UserError("grouping {}: found kmin = {} above kmax = {}; expected kmin <= kmax; exchange them", kName, p.kmin,
                    p.kmax);
  if (p.nmin > p.nmax)
    throw UserError("grouping {}: found nmin = {} above nmax = {}; expected nmin <= nmax; exchange them", kName, p.nmin,
                    p.nmax);
  const bool line = p.feature == Feature::kAbs || p.feature == Feature::kSigned;
  if (p.assign == Assign::kBoundary && (!line || p.refine > 0))
    throw UserError(
        "grouping {}: found assign 'boundary' with {}; expected feature abs or signed and refine 0; use assign 'centroid'",
        kName, line ? "refine" : "a feature of several dimensions");
}

std::unique_ptr<GroupingModel> SpectralGrouping::prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                         std::optional<int64_t> groups) const {
  graph::StageOptions options{params_.knn,  params_.affinity, params_.connect,   params_.kmin,
                              params_.kmax, params_.groups,   params_.sil_space, params_.sil_sample};
  if (groups) options.forced = static_cast<int>(*groups);
  const int64_t wanted =
      std::clamp<int64_t>(std::llround(params_.sub_frac * static_cast<double>(ctx.weights.size())), params_.nmin, params_.nmax);
  const std::vector<int64_t> nodes = graph::sample_unsalient(ctx, mask, wanted);
  const FeatureSpace space(ctx, params_.feature, nodes);

  Clustering chosen;
  if (nodes.size() < 3) {  // nothing to cluster
    chosen.centroids.assign(static_cast<size_t>(space.dims()), 0.0);
    chosen.sizes = {static_cast<int64_t>(nodes.size())};
  } else {
    const Points points = space.points(ctx, nodes);
    const graph::StageResult result = graph::cluster_points(points, options, ctx.rng("graph-stage").next_u64());
    chosen = result.by_k[static_cast<size_t>(result.chosen)];
    report(ctx.trace, result, chosen, points.size(), space);
    if (params_.refine > 0 && params_.feature != Feature::kAbs) refine_centroids(points, chosen.centroids, params_.refine);
  }
  std::vector<double> cuts;
  if (space.dims() == 1) cuts = params_.assign == Assign::kBoundary ? chosen.boundaries : midpoints(chosen.centroids);

  // Fewer distinct clusters than were forced: the missing ones stay empty, so that K is what was asked for.
  const size_t k = options.forced ? static_cast<size_t>(*options.forced) : chosen.sizes.size(),
               dims = static_cast<size_t>(space.dims());
  for (size_t g = chosen.centroids.size() / dims; g < k; ++g) {
    const std::vector<double> last(chosen.centroids.end() - static_cast<int64_t>(dims), chosen.centroids.end());
    chosen.centroids.insert(chosen.centroids.end(), last.begin(), last.end());
    if (dims == 1) cuts.push_back(std::numeric_limits<float>::max());
  }
  if (params_.feature != Feature::kAbs)
    return std::make_unique<FeatureGroups>(space, std::move(chosen.centroids), std::move(cuts));

  for (double& c : cuts)
    c = std::min<double>(c * space.unit(), std::numeric_limits<float>::max());
  if (params_.refine > 0 && !cuts.empty()) {
    const MagnitudeProfile profile(ctx.backend, ctx.weights, Selection{&mask, false});
    profile.lloyd(cuts, params_.refine, 1e-10);
  }
  return std::make_unique<MagnitudeGroups>(std::vector<float>(cuts.begin(), cuts.end()));
}

GroupMap SpectralGrouping::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, 1, max_groups(rows, cols));
  return element_layout(rows, cols, groups);
}

}  // namespace sage
