// Saliency by curvature, as released code measures it.
#pragma once

#include "core/registry/registry.h"
#include "strategies/saliency/curvature.h"

namespace sage {

// T_ij = w_ij^2 / u_j^2 with u_j = U_jj of the upper Cholesky factor, H^-1 = U^T U (BlockContext::factor_diagonal): the
// saliency of the released PB-LLM and BiLLM. u_j^2 is the inverse diagonal *given that the columns before j are fixed*; the
// papers write [H^-1]_jj^2 (hessian_inverse_diag), which differs in the power, too. target() is T.
//   unit: weights   salient is T > the cut. Cuts: kRatio, kPercentile (PB-LLM). Stored: an element mask.
//   unit: columns   columns by sum_i T_ij, descending; of equal ones the left one first. Cuts: kRatio, kCount (BiLLM). Stored:
//                   one flag per column.
// Needs calibration; RunError without it. Cost: two passes and one matrix of floats.
class HessianSaliency final : public SaliencyFilter {
 public:
  using Unit = saliency::CurvatureUnit;
  struct Params {
    Unit unit = Unit::kWeights;
  };
  static constexpr auto kName = "hessian";
  static constexpr int kVersion = 1;
  static constexpr auto kDoc =
      "Weights or columns by w^2 / U_jj^2, U the Cholesky factor of the inverse Hessian: as released code has it.";
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "Alg. 2 (salient); PB-LLM"};
  static Schema<Params> schema();
  explicit HessianSaliency(Params p) : params_(p) {}

  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override;
  bool needs_calibration() const override { return true; }
  bool supports(Cut::Unit unit) const override { return saliency::supports_cut(params_.unit, unit); }
  MaskShape mask_shape() const override { return saliency::mask_shape_of(params_.unit); }

 private:
  Params params_;
};

}  // namespace sage
