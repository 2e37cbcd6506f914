#include "strategies/saliency/cuts.h"

#include <cmath>

#include "core/util/errors.h"

namespace sage::saliency {

void fail_unit(const Cut& cut, const char* filter, const char* known) {
  const char* found = cut.unit == Cut::Unit::kRatio ? "ratio" : cut.unit == Cut::Unit::kSigmas ? "sigmas" : "count";
  throw UserError("saliency {}: found a cut in unit '{}'; expected {}; choose a threshold that gives one", filter, found,
                  known);
}

double ratio_of(const Cut& cut, const char* filter) {
  if (cut.unit != Cut::Unit::kRatio) fail_unit(cut, filter, "a ratio");
  if (!(cut.value >= 0.0 && cut.value <= 1.0))
    throw UserError("saliency {}: found ratio {}; expected 0 .. 1; correct the threshold's ratio", filter, cut.value);
  return cut.value;
}

int64_t rank_of(double ratio, int64_t n) {
  return static_cast<int64_t>(std::floor((1.0 - ratio) * static_cast<double>(n - 1)));
}

MatrixStats finite_stats(const BlockContext& ctx) {
  MatrixStats s = ctx.backend.matrix_stats(ctx.weights);
  if (s.nonfinite > 0)
    throw RunError(
        "{}: found {} weights that are NaN or infinite; expected finite weights; repair or re-download the checkpoint",
        ctx.id.name, s.nonfinite);
  return s;
}

}  // namespace sage::saliency
