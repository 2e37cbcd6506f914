// Owned weights stay as they are: FP16 with packed numerics (beyond its range they saturate), FP32 with reference numerics.
//
// Source: PB-LLM's `no`, arXiv:2310.00034, low_quant.py; also what OWQ and others do with salient weights. Stored:
// "kept_weights" (kCode, one number per owned weight, in row-major order). Paper count: 16 bits per owned weight, 32 with
// reference numerics; no scales. Cost: one pass.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

class Keep final : public Quantizer {
 public:
  struct Params {};
  static constexpr auto kName = "keep";
  static constexpr auto kDoc = "Weights stay 16-bit numbers.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"PB-LLM", "arXiv:2310.00034", "low_quant.py, no"};
  static Schema<Params> schema() { return {}; }
  explicit Keep(Params) {}

  // `own.mask` must outlive the result. Throws RunError on weights that are not finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return 16; }
};

}  // namespace sage
