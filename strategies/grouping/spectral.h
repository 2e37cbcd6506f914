// The paper's grouping: spectral clustering of a sample of the unsalient weights.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/grouping.h"
#include "strategies/grouping/graph_stage.h"

namespace sage {

// 1. Nodes: s = clip(round(sub_frac N), nmin, nmax) distinct unsalient weights, uniform, seeded (N weights in the block).
// 2. Feature of a node, in units of the root mean square (of the nodes: abs, signed; of the block: the others):
//      abs         |w|                       signed      w (groups then are mostly signs: needs a mean shift)
//      abs_rowcol  (|w|, mean |w| of its row, mean |w| of its column)
//      abs_pos     (|w|, 2 i / m, 2 j / n)   position (i, j) in the m x n block
// 3. Neighbour graph (knn, affinity, connect), normalised Laplacian, kmax smallest eigenvectors, k-means for K = kmin .. kmax,
// and the
//    first K with the largest mean silhouette (graph_stage.h); `groups` or the caller may force K instead.
// 4. Every unsalient weight goes to the nearest cluster mean (assign: centroid) or, for one-dimensional features, to the
// interval between
//    the clusters' outermost nodes (assign: boundary). refine: that many Lloyd steps first, over all unsalient weights for
//    `abs`, over the nodes for the other features.
// Defaults follow the paper's abstract where it speaks (0.03 % of the weights, K by silhouette) and are named options where it
// does not. connect: bridge is ours; without it disconnected samples make K jump. Known: a self-tuned one-dimensional graph is
// a path in rank, so the groups come out (nearly) equal-count and the silhouette nearly always prefers K = 2. Stored: ceil(log2
// K) bits per weight before entropy coding; nothing for K = 1. Cost: O(s k^2) for one-dimensional features plus one pass over
// the weights.
class SpectralGrouping final : public GroupingStrategy {
 public:
  enum class Feature { kAbs, kSigned, kAbsRowCol, kAbsPos };
  enum class Assign { kCentroid, kBoundary };
  struct Params {
    Feature feature = Feature::kAbs;
    double sub_frac = 3e-4;
    int nmin = 256;
    int nmax = 16384;
    int knn = 10;
    graph::Affinity affinity = graph::Affinity::kSelfTuned;
    graph::Connect connect = graph::Connect::kBridge;
    int kmin = 2;
    int kmax = 8;
    std::optional<int> groups;
    graph::SilhouetteSpace sil_space = graph::SilhouetteSpace::kFeature;
    int sil_sample = 5033;
    Assign assign = Assign::kCentroid;
    int refine = 0;
  };
  static constexpr auto kName = "spectral";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Spectral clustering of a sample's neighbour graph; K by silhouette (the paper's grouping).";
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "graph-based grouping"};
  static Schema<Params> schema();
  explicit SpectralGrouping(Params p);

  std::unique_ptr<GroupingModel> prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                         std::optional<int64_t> groups) const override;
  int64_t max_groups(int64_t, int64_t) const override { return params_.groups.value_or(params_.kmax); }
  GroupMap layout(int64_t rows, int64_t cols, int64_t groups) const override;

 private:
  Params params_;
};

}  // namespace sage
