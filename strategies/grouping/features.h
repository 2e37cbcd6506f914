// Nodes of the graph stage and the space they live in.
#pragma once

#include <vector>

#include "core/strategy/context.h"
#include "core/tensor/mask.h"
#include "strategies/grouping/spectral.h"

namespace sage::graph {

// Distinct unsalient positions (row-major), uniform, ascending; all of them when there are no more than `count`.
std::vector<int64_t> sample_unsalient(const BlockContext& ctx, const SaliencyMask& mask, int64_t count);

// Maps weights to feature vectors. Holds what the features need of the block it was made from.
class FeatureSpace {
 public:
  FeatureSpace(const BlockContext& ctx, SpectralGrouping::Feature feature, const std::vector<int64_t>& nodes);

  int dims() const { return dims_; }
  double unit() const { return unit_; }  // weights are divided by it
  // Writes dims() coordinates of weight w at (i, j).
  void map(float w, int64_t i, int64_t j, double* out) const;
  // Feature vectors of the nodes; ascending when one-dimensional.
  Points points(const BlockContext& ctx, const std::vector<int64_t>& nodes) const;

 private:
  SpectralGrouping::Feature feature_;
  int dims_;
  double unit_ = 1;
  std::vector<double> row_, column_;  // the second and third coordinate, by row and by column
};

}  // namespace sage::graph
