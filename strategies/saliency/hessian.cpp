#include "strategies/saliency/hessian.h"

namespace sage {

Schema<HessianSaliency::Params> HessianSaliency::schema() {
  return Schema<Params>{}.add("unit", &Params::unit, choices<Unit>({{"weights", Unit::kWeights}, {"columns", Unit::kColumns}}),
                              "What is salient: single weights, or whole columns (ranked by the sum of their scores).");
}

std::unique_ptr<SaliencyScores> HessianSaliency::score(const BlockContext& ctx) const {
  return saliency::curvature_scores(ctx, ctx.factor_diagonal, params_.unit, kName, "the diagonal of the Hessian's factor");
}

}  // namespace sage
