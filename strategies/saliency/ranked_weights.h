// Scores of filters that rank the weights of a block one by one.
#pragma once

#include <map>
#include <utility>

#include "core/strategy/saliency.h"

namespace sage::saliency {

// The score of a weight is |t|, t its entry of the target. Salient is |t| > T, ties never:
//   kRatio r        T of rank floor((1 - r)(N - 1)) of the N scores; r = 0 selects nothing
//   kPercentile f   T of rank floor(N f): PB-LLM's cut
// UserError for other units, naming `filter`. threshold() is T. Cost: about three passes per cut; T of a cut is kept.
class RankedWeights final : public SaliencyScores {
 public:
  // `target` is a view of what the caller keeps alive.
  RankedWeights(const char* filter, const Backend& backend, WeightView target)
      : filter_(filter), backend_(backend), target_(target) {}
  RankedWeights(const char* filter, const Backend& backend, Matrix target)
      : filter_(filter), backend_(backend), owned_(std::move(target)), target_(std::as_const(owned_).view()) {}

  SaliencyMask select(const Cut& cut) const override;
  double threshold(const Cut& cut) const override;
  WeightView target() const override { return target_; }

 private:
  bool selects_nothing(const Cut& cut) const;
  const char* filter_;
  const Backend& backend_;
  Matrix owned_;
  WeightView target_;
  mutable std::map<int64_t, float> found_;  // by rank: searches ask for the mask and for T of the same cut
};

}  // namespace sage::saliency
