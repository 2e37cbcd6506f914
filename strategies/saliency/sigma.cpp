#include "strategies/saliency/sigma.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "strategies/saliency/cuts.h"

namespace sage {
namespace {

class Scores final : public SaliencyScores {
 public:
  Scores(const BlockContext& ctx, float center, double sigma)
      : weights_(ctx.weights), backend_(ctx.backend), center_(center), sigma_(sigma) {}

  SaliencyMask select(const Cut& cut) const override {
    if (weights_.size() == 0 || selects_nothing(cut)) return SaliencyMask::none(weights_.rows, weights_.cols);
    BitMask bits = backend_.deviation_above(weights_, center_, static_cast<float>(threshold(cut)));
    if (bits.count() == 0) return SaliencyMask::none(weights_.rows, weights_.cols);
    return SaliencyMask::elements(std::move(bits));
  }

  double threshold(const Cut& cut) const override {
    if (weights_.size() == 0 || selects_nothing(cut)) return 0;
    // The threshold is compared in float; hand out the float that is compared with.
    if (cut.unit == Cut::Unit::kSigmas)
      return static_cast<float>(std::min<double>(cut.value * sigma_, std::numeric_limits<float>::max()));
    const double ratio = saliency::ratio_of(cut, SigmaSaliency::kName);
    // Searches ask for the mask and for T of the same cut: keep the order statistics found so far.
    const int64_t rank = saliency::rank_of(ratio, weights_.size());
    const auto known = found_.find(rank);
    if (known != found_.end()) return known->second;
    return found_[rank] = backend_.deviation_order_statistic(weights_, center_, rank);
  }

 private:
  static bool selects_nothing(const Cut& cut) {
    if (cut.unit == Cut::Unit::kSigmas) {
      if (!(cut.value >= 0.0))
        throw UserError("saliency {}: found t = {} sigmas; expected t >= 0; correct the threshold", SigmaSaliency::kName,
                        cut.value);
      return false;
    }
    if (cut.unit == Cut::Unit::kCount) saliency::fail_unit(cut, SigmaSaliency::kName, "a ratio or a number of sigmas");
    return saliency::ratio_of(cut, SigmaSaliency::kName) == 0.0;
  }

  WeightView weights_;
  const Backend& backend_;
  float center_;
  double sigma_;
  mutable std::map<int64_t, float> found_;
};

}  // namespace

Schema<SigmaSaliency::Params> SigmaSaliency::schema() {
  return Schema<Params>{}.add("center", &Params::center,
                              choices<Center>({{"matrix", Center::kMatrix}, {"zero", Center::kZero}}),
                              "What deviations are measured from: the mean of the weights, or zero.");
}

std::unique_ptr<SaliencyScores> SigmaSaliency::score(const BlockContext& ctx) const {
  const Moments m = saliency::finite_stats(ctx).moments;
  const double n = static_cast<double>(std::max<int64_t>(m.count, 1));
  const double mu = params_.center == Center::kMatrix ? m.sum / n : 0.0;
  const double sigma = std::sqrt(std::max(0.0, m.sq_sum / n - 2.0 * mu * m.sum / n + mu * mu));
  if (ctx.trace != nullptr) {
    ctx.trace->scalar("saliency.mu", mu);
    ctx.trace->scalar("saliency.sigma", sigma);
  }
  return std::make_unique<Scores>(ctx, static_cast<float>(mu), sigma);
}

}  // namespace sage
