#include "strategies/saliency/columns.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "strategies/saliency/cuts.h"
#include "strategies/saliency/ranked_columns.h"

namespace sage {
namespace {

// The number of outliers, and the energy among columns with equally many.
std::vector<int64_t> by_outliers(const BlockContext& ctx, const Moments& m, double sigmas, std::span<const double> energy) {
  const WeightView w = ctx.weights;
  std::vector<int64_t> outliers(static_cast<size_t>(w.cols), 0);
  if (w.size() > 0) {
    const double n = static_cast<double>(m.count), mu = m.sum / n;
    const double sigma = std::sqrt(std::max(0.0, m.sq_sum / n - mu * mu));
    const BitMask above = ctx.backend.deviation_above(w, static_cast<float>(mu), static_cast<float>(sigmas * sigma));
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t k = 0; k < above.words_per_row(); ++k)
        for (uint64_t bits = above.row(i)[k]; bits != 0; bits &= bits - 1)
          ++outliers[static_cast<size_t>(k * 64 + std::countr_zero(bits))];
  }
  std::vector<int64_t> order = saliency::by_descending_score(energy);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return outliers[static_cast<size_t>(a)] > outliers[static_cast<size_t>(b)]; });
  return order;
}

}  // namespace

Schema<ColumnSaliency::Params> ColumnSaliency::schema() {
  return Schema<Params>{}
      .add("by", &Params::by,
           choices<By>({{"energy", By::kEnergy}, {"outliers", By::kOutliers}, {"magnitude", By::kMagnitude}}),
           "What ranks the columns: the sum of squares, the number of weights beyond `sigmas`, or the sum of magnitudes.")
      .add("sigmas", &Params::sigmas, range(0.0, 100.0),
           "Distance from the mean beyond which a weight counts as an outlier (by: outliers).");
}

std::unique_ptr<SaliencyScores> ColumnSaliency::score(const BlockContext& ctx) const {
  const Moments m = saliency::finite_stats(ctx).moments;
  const WeightView w = ctx.weights;
  std::vector<int64_t> order;
  if (params_.by == By::kMagnitude) {
    order = saliency::by_descending_score(saliency::column_abs_sums(w));
  } else {
    std::vector<double> energy(static_cast<size_t>(w.cols));
    ctx.backend.column_sq_sums(w, energy);
    order = params_.by == By::kEnergy ? saliency::by_descending_score(energy) : by_outliers(ctx, m, params_.sigmas, energy);
  }
  return std::make_unique<saliency::RankedColumns>(kName, w, std::move(order));
}

}  // namespace sage
