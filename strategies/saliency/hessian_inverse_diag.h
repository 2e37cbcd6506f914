// Saliency by curvature, as the papers write it.
#pragma once

#include "core/registry/registry.h"
#include "strategies/saliency/curvature.h"

namespace sage {

// T_ij = w_ij^2 / [H^-1]_jj^2 (BlockContext::inverse_diagonal): Eq. 3 of BiLLM, and the criterion of PB-LLM's text. The
// released code of both divides by the squared diagonal of the Cholesky factor instead (hessian). Everything else as there.
class HessianInverseDiagSaliency final : public SaliencyFilter {
 public:
  using Unit = saliency::CurvatureUnit;
  struct Params {
    Unit unit = Unit::kWeights;
  };
  static constexpr auto kName = "hessian_inverse_diag";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc = "Weights or columns by w^2 / [H^-1]_jj^2: as the papers write it.";
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "Eq. 3"};
  static Schema<Params> schema();
  explicit HessianInverseDiagSaliency(Params p) : params_(p) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  bool needs_calibration() const override { return true; }
  bool supports(Cut::Unit unit) const override { return saliency::supports_cut(params_.unit, unit); }
  MaskShape mask_shape() const override { return saliency::mask_shape_of(params_.unit); }

 private:
  Params params_;
};

}  // namespace sage
