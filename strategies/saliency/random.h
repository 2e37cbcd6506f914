// Random saliency: the control of every saliency ablation.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/saliency.h"

namespace sage {

// Keeps N - 1 - floor((1 - r)(N - 1)) of the N weights, drawn uniformly without replacement: exactly as many as `sigma` keeps
// at the same ratio r when no deviations tie. The stream is keyed by seed, matrix name and block; the sets of growing r are
// nested, as the sets of a score are. Stored: an element mask. Cost: O(r N) draws for r well below 1. threshold() is 0.
class RandomSaliency final : public SaliencyFilter {
 public:
  struct Params {};
  static constexpr auto kName = "random";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Keeps weights drawn at random (seeded): what any other filter has to beat.";
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit RandomSaliency(Params) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  MaskShape mask_shape() const override { return MaskShape::kElements; }
};

}  // namespace sage
