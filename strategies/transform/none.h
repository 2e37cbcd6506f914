// No transform: weights are quantized as they are. Stored: nothing. Cost: none.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/transform.h"

namespace sage {

class NoTransform final : public Transform {
 public:
  struct Params {};
  static constexpr auto kName = "none";
  static constexpr auto kDoc = "No transform: weights are quantized as they are.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit NoTransform(Params) {}

  std::unique_ptr<FittedTransform> fit(const BlockContext& whole_matrix) const override;
  void invert(PlaneReader& reader, View<float> w, const Backend& backend) const override;
  bool is_identity() const override { return true; }
};

}  // namespace sage
