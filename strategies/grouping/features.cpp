#include "strategies/grouping/features.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <unordered_set>

namespace sage::graph {
namespace {

// Mean |w| per row or per column, salient weights included.
std::vector<double> mean_magnitudes(const BlockContext& ctx, LabelShape by) {
  const int64_t groups = by == LabelShape::kRow ? ctx.weights.rows : ctx.weights.cols;
  GroupMap map = GroupMap::single(ctx.weights.rows, ctx.weights.cols);
  map.shape = by;
  map.groups = groups;
  for (int64_t g = 0; g < groups; ++g)
    map.label.push_back(static_cast<uint32_t>(g));
  const SaliencyMask none = SaliencyMask::none(ctx.weights.rows, ctx.weights.cols);
  std::vector<Moments> moments(static_cast<size_t>(groups));
  ctx.backend.group_moments(ctx.weights, Selection{&none, false}, map, moments);
  std::vector<double> out;
  for (const Moments& m : moments)
    out.push_back(m.count > 0 ? m.abs_sum / static_cast<double>(m.count) : 0.0);
  return out;
}

}  // namespace

std::vector<int64_t> sample_unsalient(const BlockContext& ctx, const SaliencyMask& mask, int64_t count) {
  const Selection own{&mask, false};
  const int64_t rows = ctx.weights.rows, cols = ctx.weights.cols, all = own.count();
  std::vector<int64_t> out;
  Rng rng = ctx.rng("graph-nodes");
  if (all <= 2 * count) {  // few: list them and take the first of a shuffle
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < mask.words_per_row(); ++k)
        for (uint64_t bits = own.word(i, k); bits != 0; bits &= bits - 1)
          out.push_back(i * cols + k * 64 + std::countr_zero(bits));
    if (all > count) {
      for (int64_t i = 0; i < count; ++i)
        std::swap(out[i], out[i + static_cast<int64_t>(rng.below(static_cast<uint64_t>(all - i)))]);
      out.resize(static_cast<size_t>(count));
    }
  } else {
    std::unordered_set<int64_t> seen;
    while (static_cast<int64_t>(out.size()) < count) {
      const int64_t at = static_cast<int64_t>(rng.below(static_cast<uint64_t>(rows * cols)));
      if (own.owns(at / cols, at % cols) && seen.insert(at).second) out.push_back(at);
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

FeatureSpace::FeatureSpace(const BlockContext& ctx, SpectralGrouping::Feature feature, const std::vector<int64_t>& nodes)
    : feature_(feature),
      dims_(feature == SpectralGrouping::Feature::kAbs || feature == SpectralGrouping::Feature::kSigned ? 1 : 3) {
  const WeightView w = ctx.weights;
  double energy = 0, count = static_cast<double>(nodes.size());
  if (dims_ == 1) {
    // Values, not positions, decide the unit: the sum must not depend on where the nodes stand.
    std::vector<float> magnitude;
    for (const int64_t at : nodes)
      magnitude.push_back(std::abs(w(at / w.cols, at % w.cols)));
    std::sort(magnitude.begin(), magnitude.end());
    for (const double a : magnitude)
      energy += a * a;
  } else {
    const Moments m = ctx.backend.matrix_stats(w).moments;
    energy = m.sq_sum;
    count = static_cast<double>(m.count);
  }
  if (energy > 0) unit_ = std::sqrt(energy / count);
  if (feature == SpectralGrouping::Feature::kAbsRowCol) {
    row_ = mean_magnitudes(ctx, LabelShape::kRow);
    column_ = mean_magnitudes(ctx, LabelShape::kColumn);
    for (double& v : row_)
      v /= unit_;
    for (double& v : column_)
      v /= unit_;
  } else if (feature == SpectralGrouping::Feature::kAbsPos) {
    for (int64_t i = 0; i < w.rows; ++i)
      row_.push_back(2.0 * static_cast<double>(i) / static_cast<double>(w.rows));
    for (int64_t j = 0; j < w.cols; ++j)
      column_.push_back(2.0 * static_cast<double>(j) / static_cast<double>(w.cols));
  }
}

void FeatureSpace::map(float w, int64_t i, int64_t j, double* out) const {
  out[0] = (feature_ == SpectralGrouping::Feature::kSigned ? w : std::abs(w)) / unit_;
  if (dims_ == 1) return;
  out[1] = row_[static_cast<size_t>(i)];
  out[2] = column_[static_cast<size_t>(j)];
}

Points FeatureSpace::points(const BlockContext& ctx, const std::vector<int64_t>& nodes) const {
  Points p{dims_, std::vector<double>(nodes.size() * static_cast<size_t>(dims_))};
  for (size_t k = 0; k < nodes.size(); ++k) {
    const int64_t i = nodes[k] / ctx.weights.cols, j = nodes[k] % ctx.weights.cols;
    map(ctx.weights(i, j), i, j, p.x.data() + k * static_cast<size_t>(dims_));
  }
  if (dims_ == 1) std::sort(p.x.begin(), p.x.end());
  return p;
}

}  // namespace sage::graph
