#include "strategies/saliency/magnitude.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "strategies/saliency/cuts.h"

namespace sage {
namespace {

class Scores final : public SaliencyScores {
 public:
  Scores(const BlockContext& ctx, MagnitudeSaliency::Scope scope)
      : weights_(ctx.weights), backend_(ctx.backend), scope_(scope) {}

  SaliencyMask select(const Cut& cut) const override {
    const double ratio = saliency::ratio_of(cut, MagnitudeSaliency::kName);
    if (ratio == 0.0 || weights_.size() == 0) return SaliencyMask::none(weights_.rows, weights_.cols);
    BitMask bits = scope_ == MagnitudeSaliency::Scope::kMatrix
                       ? backend_.deviation_above(weights_, 0.0f, static_cast<float>(threshold(cut)))
                       : rows_above(ratio);
    if (bits.count() == 0) return SaliencyMask::none(weights_.rows, weights_.cols);
    return SaliencyMask::elements(std::move(bits));
  }

  double threshold(const Cut& cut) const override {
    const double ratio = saliency::ratio_of(cut, MagnitudeSaliency::kName);
    if (ratio == 0.0 || weights_.size() == 0 || scope_ == MagnitudeSaliency::Scope::kRow) return 0;
    const int64_t rank = saliency::rank_of(ratio, weights_.size());
    if (rank != rank_) value_ = backend_.deviation_order_statistic(weights_, 0.0f, rank_ = rank);
    return value_;
  }

 private:
  BitMask rows_above(double ratio) const {
    BitMask bits(weights_.rows, weights_.cols);
    const int64_t rank = saliency::rank_of(ratio, weights_.cols);
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
  const Backend& backend_;
  MagnitudeSaliency::Scope scope_;
  mutable int64_t rank_ = -1;
  mutable float value_ = 0;
};

}  // namespace

Schema<MagnitudeSaliency::Params> MagnitudeSaliency::schema() {
  return Schema<Params>{}.add("scope", &Params::scope, choices<Scope>({{"matrix", Scope::kMatrix}, {"row", Scope::kRow}}),
                              "Whether the share is kept of the whole matrix or of every row.");
}

std::unique_ptr<SaliencyScores> MagnitudeSaliency::score(const BlockContext& ctx) const {
  saliency::finite_stats(ctx);
  return std::make_unique<Scores>(ctx, params_.scope);
}

}  // namespace sage
