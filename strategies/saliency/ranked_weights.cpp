#include "strategies/saliency/ranked_weights.h"

#include "strategies/saliency/cuts.h"

namespace sage::saliency {

bool RankedWeights::selects_nothing(const Cut& cut) const {
  if (cut.unit != Cut::Unit::kRatio && cut.unit != Cut::Unit::kPercentile) fail_unit(cut, filter_, "a ratio or a percentile");
  return target_.size() == 0 || (cut.unit == Cut::Unit::kRatio && ratio_of(cut, filter_) == 0.0);
}

SaliencyMask RankedWeights::select(const Cut& cut) const {
  if (selects_nothing(cut)) return SaliencyMask::none(target_.rows, target_.cols);
  BitMask bits = backend_.deviation_above(target_, 0.0f, static_cast<float>(threshold(cut)));
  if (bits.count() == 0) return SaliencyMask::none(target_.rows, target_.cols);
  return SaliencyMask::elements(std::move(bits));
}

double RankedWeights::threshold(const Cut& cut) const {
  if (selects_nothing(cut)) return 0;
  const int64_t n = target_.size();
  const int64_t rank = cut.unit == Cut::Unit::kPercentile ? percentile_rank(cut, n, filter_) : rank_of(cut.value, n);
  const auto known = found_.find(rank);
  if (known != found_.end()) return known->second;
  return found_[rank] = backend_.deviation_order_statistic(target_, 0.0f, rank);
}

}  // namespace sage::saliency
