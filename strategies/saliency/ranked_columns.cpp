#include "strategies/saliency/ranked_columns.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/util/errors.h"
#include "strategies/saliency/cuts.h"

namespace sage::saliency {

std::vector<double> column_abs_sums(WeightView t) {
  constexpr int64_t kChunk = 256;
  const int64_t chunks = (t.rows + kChunk - 1) / kChunk;
  std::vector<double> partial(static_cast<size_t>(chunks * t.cols), 0.0);
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < chunks; ++c) {
    double* sums = partial.data() + c * t.cols;
    for (int64_t i = c * kChunk; i < std::min((c + 1) * kChunk, t.rows); ++i) {
      const float* row = t.row(i);
      for (int64_t j = 0; j < t.cols; ++j)
        sums[j] += std::abs(row[j]);
    }
  }
  std::vector<double> total(static_cast<size_t>(t.cols), 0.0);
  for (int64_t c = 0; c < chunks; ++c)
    for (int64_t j = 0; j < t.cols; ++j)
      total[static_cast<size_t>(j)] += partial[static_cast<size_t>(c * t.cols + j)];
  return total;
}

std::vector<int64_t> by_descending_score(std::span<const double> scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)]; });
  return order;
}

SaliencyMask RankedColumns::select(const Cut& cut) const {
  const int64_t keep = count_of(cut);
  if (keep == 0) return SaliencyMask::none(target_.rows, target_.cols);
  BitMask flags(1, target_.cols);
  for (int64_t k = 0; k < keep; ++k)
    flags.set(0, order_[static_cast<size_t>(k)]);
  return SaliencyMask::columns(target_.rows, std::move(flags));
}

int64_t RankedColumns::count_of(const Cut& cut) const {
  const double cols = static_cast<double>(target_.cols);
  if (cut.unit == Cut::Unit::kCount) {
    if (!(cut.value >= 0.0 && cut.value <= cols))
      throw UserError("saliency {}: found a count of {} columns; expected 0 .. {}; correct the threshold", filter_, cut.value,
                      target_.cols);
    return static_cast<int64_t>(cut.value);
  }
  if (cut.unit != Cut::Unit::kRatio) fail_unit(cut, filter_, "a ratio or a count of columns");
  // 0.29 * 100 is 28.999... in double; a share that means a whole number must give it.
  const double exact = ratio_of(cut, filter_) * cols;
  return static_cast<int64_t>(std::floor(exact + 1e-9 * std::max(1.0, exact)));
}

}  // namespace sage::saliency
