#include "strategies/saliency/hessian_inverse_diag.h"

namespace sage {

Schema<HessianInverseDiagSaliency::Params> HessianInverseDiagSaliency::schema() {
  return Schema<Params>{}.add("unit", &Params::unit, choices<Unit>({{"weights", Unit::kWeights}, {"columns", Unit::kColumns}}),
                              "What is salient: single weights, or whole columns (ranked by the sum of their scores).");
}

std::unique_ptr<SaliencyScores> HessianInverseDiagSaliency::score(const BlockContext& ctx) const {
  return saliency::curvature_scores(ctx, ctx.inverse_diagonal, params_.unit, kName, "the diagonal of the Hessian's inverse");
}

}  // namespace sage
