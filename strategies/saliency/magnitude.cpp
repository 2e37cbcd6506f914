#include "strategies/saliency/magnitude.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "strategies/saliency/cuts.h"
#include "strategies/saliency/ranked_weights.h"

namespace sage {
namespace {

// Every row cut by itself.
class RowScores final : public SaliencyScores {
 public:
  explicit RowScores(WeightView weights) : weights_(weights) {}

  SaliencyMask select(const Cut& cut) const override {
    if (cut.unit != Cut::Unit::kRatio && cut.unit != Cut::Unit::kPercentile)
      saliency::fail_unit(cut, MagnitudeSaliency::kName, "a ratio or a percentile");
    const bool nothing = cut.unit == Cut::Unit::kRatio && saliency::ratio_of(cut, MagnitudeSaliency::kName) == 0.0;
    if (nothing || weights_.size() == 0) return SaliencyMask::none(weights_.rows, weights_.cols);
    BitMask bits =
        above(cut.unit == Cut::Unit::kPercentile ? saliency::percentile_rank(cut, weights_.cols, MagnitudeSaliency::kName)
                                                 : saliency::rank_of(cut.value, weights_.cols));
    if (bits.count() == 0) return SaliencyMask::none(weights_.rows, weights_.cols);
    return SaliencyMask::elements(std::move(bits));
  }
  WeightView target() const override { return weights_; }

 private:
  BitMask above(int64_t rank) const {
    BitMask bits(weights_.rows, weights_.cols);
#pragma omp parallel
    {
      std::vector<float> magnitude(static_cast<size_t>(weights_.cols));
#pragma omp for schedule(static)
      for (int64_t i = 0; i < weights_.rows; ++i) {
        const float* row = weights_.row(i);
        for (int64_t j = 0; j < weights_.cols; ++j)
          magnitude[static_cast<size_t>(j)] = std::abs(row[j]);
        std::nth_element(magnitude.begin(), magnitude.begin() + rank, magnitude.end());
        const float cut = magnitude[static_cast<size_t>(rank)];
        for (int64_t j = 0; j < weights_.cols; ++j)
          if (std::abs(row[j]) > cut) bits.set(i, j);
      }
    }
    return bits;
  }

  WeightView weights_;
};

}  // namespace

Schema<MagnitudeSaliency::Params> MagnitudeSaliency::schema() {
  return Schema<Params>{}.add("scope", &Params::scope, choices<Scope>({{"matrix", Scope::kMatrix}, {"row", Scope::kRow}}),
                              "Whether the share is kept of the whole matrix or of every row.");
}

std::unique_ptr<SaliencyScores> MagnitudeSaliency::score(const BlockContext& ctx) const {
  saliency::finite_stats(ctx);
  if (params_.scope == Scope::kRow) return std::make_unique<RowScores>(ctx.weights);
  return std::make_unique<saliency::RankedWeights>(kName, ctx.backend, ctx.weights);
}

}  // namespace sage
