#include "strategies/saliency/columns.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "strategies/saliency/cuts.h"

namespace sage {
namespace {

class Scores final : public SaliencyScores {
 public:
  Scores(int64_t rows, std::vector<int64_t> order) : rows_(rows), order_(std::move(order)) {}

  SaliencyMask select(const Cut& cut) const override {
    const int64_t cols = static_cast<int64_t>(order_.size());
    const int64_t keep = count_of(cut, cols);
    if (keep == 0) return SaliencyMask::none(rows_, cols);
    BitMask flags(1, cols);
    for (int64_t k = 0; k < keep; ++k)
      flags.set(0, order_[static_cast<size_t>(k)]);
    return SaliencyMask::columns(rows_, std::move(flags));
  }

 private:
  static int64_t count_of(const Cut& cut, int64_t cols) {
    if (cut.unit == Cut::Unit::kSigmas) saliency::fail_unit(cut, ColumnSaliency::kName, "a ratio or a count of columns");
    if (cut.unit == Cut::Unit::kCount) {
      if (!(cut.value >= 0.0 && cut.value <= static_cast<double>(cols)))
        throw UserError("saliency {}: found a count of {} columns; expected 0 .. {}; correct the threshold",
                        ColumnSaliency::kName, cut.value, cols);
      return static_cast<int64_t>(cut.value);
    }
    // 0.29 * 100 is 28.999... in double; a share that means a whole number must give it.
    const double exact = saliency::ratio_of(cut, ColumnSaliency::kName) * static_cast<double>(cols);
    return static_cast<int64_t>(std::floor(exact + 1e-9 * std::max(1.0, exact)));
  }

  int64_t rows_;
  std::vector<int64_t> order_;  // columns, best first
};

}  // namespace

Schema<ColumnSaliency::Params> ColumnSaliency::schema() {
  return Schema<Params>{}
      .add("by", &Params::by, choices<By>({{"energy", By::kEnergy}, {"outliers", By::kOutliers}}),
           "What ranks the columns: the sum of squares, or the number of weights beyond `sigmas`.")
      .add("sigmas", &Params::sigmas, range(0.0, 100.0),
           "Distance from the mean beyond which a weight counts as an outlier (by: outliers).");
}

std::unique_ptr<SaliencyScores> ColumnSaliency::score(const BlockContext& ctx) const {
  const Moments m = saliency::finite_stats(ctx).moments;
  const WeightView w = ctx.weights;
  std::vector<double> energy(static_cast<size_t>(w.cols));
  ctx.backend.column_sq_sums(w, energy);
  std::vector<int64_t> outliers(static_cast<size_t>(w.cols), 0);
  if (params_.by == By::kOutliers && w.size() > 0) {
    const double n = static_cast<double>(m.count), mu = m.sum / n;
    const double sigma = std::sqrt(std::max(0.0, m.sq_sum / n - mu * mu));
    const BitMask above = ctx.backend.deviation_above(w, static_cast<float>(mu), static_cast<float>(params_.sigmas * sigma));
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t k = 0; k < above.words_per_row(); ++k)
        for (uint64_t bits = above.row(i)[k]; bits != 0; bits &= bits - 1)
          ++outliers[static_cast<size_t>(k * 64 + std::countr_zero(bits))];
  }
  std::vector<int64_t> order(static_cast<size_t>(w.cols));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const size_t x = static_cast<size_t>(a), y = static_cast<size_t>(b);
    if (outliers[x] != outliers[y]) return outliers[x] > outliers[y];
    if (energy[x] != energy[y]) return energy[x] > energy[y];
    return a < b;
  });
  return std::make_unique<Scores>(w.rows, std::move(order));
}

}  // namespace sage
