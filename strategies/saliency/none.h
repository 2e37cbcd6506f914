// No saliency at all.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/saliency.h"

namespace sage {

// Selects nothing, whatever the cut. No index is stored.
class NoSaliency final : public SaliencyFilter {
 public:
  struct Params {};
  static constexpr auto kName = "none";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "No weight is salient; every weight goes to the quantizer of the others.";
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit NoSaliency(Params) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  bool never_selects() const override { return true; }
  bool supports(Cut::Unit) const override { return true; }
  MaskShape mask_shape() const override { return MaskShape::kNone; }
};

}  // namespace sage
