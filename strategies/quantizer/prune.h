// Every owned weight becomes zero: what = 0. The mask alone says which.
//
// Source: SparseGPT's pruning as PB-LLM's script runs it, arXiv:2310.00034, low_quant.py (`prune`). Stored: nothing. Paper
// count: no bits, no scales (the salient index, which then is the mask of the weights that stay, is the pipeline's). Cost: one
// pass.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

class Prune final : public Quantizer {
 public:
  struct Params {};
  static constexpr auto kName = "prune";
  static constexpr auto kDoc = "Every weight becomes zero and stores nothing.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"PB-LLM", "arXiv:2310.00034", "low_quant.py, prune"};
  static Schema<Params> schema() { return {}; }
  explicit Prune(Params) {}

  // `own.mask` must outlive the result. Throws RunError on weights that are not finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return 0; }
};

}  // namespace sage
