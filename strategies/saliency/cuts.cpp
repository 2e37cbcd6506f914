#include "strategies/saliency/cuts.h"

#include <cmath>

#include "core/util/errors.h"

namespace sage::saliency {

void fail_unit(const Cut& cut, const char* filter, const char* known) {
  const char* found = "ratio";
  switch (cut.unit) {
    case Cut::Unit::kRatio: break;
    case Cut::Unit::kSigmas: found = "sigmas"; break;
    case Cut::Unit::kCount: found = "count"; break;
    case Cut::Unit::kPercentile: found = "percentile"; break;
  }
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

int64_t percentile_rank(const Cut& cut, int64_t n, const char* filter) {
  const double rank = std::floor(static_cast<double>(n) * cut.value);
  if (!(cut.value >= 0.0 && rank < static_cast<double>(n)))
    throw UserError("saliency {}: found a share of {} of {} weights below the cut; expected 0 <= share < 1; lower it", filter,
                    cut.value, n);
  return static_cast<int64_t>(rank);
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
