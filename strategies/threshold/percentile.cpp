#include "strategies/threshold/percentile.h"

#include "core/util/errors.h"

namespace sage {

Schema<PercentileThreshold::Params> PercentileThreshold::schema() {
  return add_objective(
      Schema<Params>{}.add("low_frac", &Params::low_frac, range(0.0, 1.0), "Share of weights that are not salient, below 1."));
}

PercentileThreshold::PercentileThreshold(Params p) : params_(p) {
  params_.check(kName);
  if (!(params_.low_frac < 1.0))
    throw UserError(
        "threshold {}: found low_frac = {}; expected a share below 1; for no salient weight at all use saliency none", kName,
        params_.low_frac);
}

SearchOutcome PercentileThreshold::search(const SearchProblem&) const {
  SearchOutcome out;
  out.cut = {unit(), params_.low_frac};
  return out;
}

}  // namespace sage
