// Scattered saliency by distance from the mean.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/saliency.h"

namespace sage {

// w is salient iff |w - mu| > T, over the whole block.
//   mu     the block's mean (center: matrix) or 0 (center: zero), rounded to float as the backend computes with it
//   T      kRatio r:  the order statistic of |w - mu| of rank floor((1 - r)(N - 1)), N weights; r = 0 selects nothing
//          kSigmas t: t * sigma, sigma^2 = mean (w - mu)^2
// Ties with T are not salient, so the count may fall short of r N but never depends on the order of equal weights.
// SAGE-PTQ, "unimodality-aware" filter: outliers of a unimodal distribution by a multiple t of sigma; the abstract gives
// neither t nor whether mu is subtracted, hence both are parameters. For normal weights r = 1 % is t = 2.5758. Stored: an
// element mask (coder `index`). Cost: one pass for mu and sigma, about two for an order statistic, one for the mask.
class SigmaSaliency final : public SaliencyFilter {
 public:
  enum class Center { kMatrix, kZero };
  struct Params {
    Center center = Center::kMatrix;
  };
  static constexpr auto kName = "sigma";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Keeps the weights farthest from the mean: |w - mu| > t sigma, cut by share or by t.";
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "saliency filter"};
  static Schema<Params> schema();
  explicit SigmaSaliency(Params p) : params_(p) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  bool supports(Cut::Unit unit) const override { return unit == Cut::Unit::kRatio || unit == Cut::Unit::kSigmas; }
  MaskShape mask_shape() const override { return MaskShape::kElements; }

 private:
  Params params_;
};

}  // namespace sage
