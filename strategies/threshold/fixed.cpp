#include "strategies/threshold/fixed.h"

namespace sage {

Schema<FixedThreshold::Params> FixedThreshold::schema() {
  return add_objective(Schema<Params>{}
                           .add("ratio", &Params::ratio, range(0.0, 1.0), "Share of salient weights (or columns).")
                           .add("sigmas", &Params::sigmas, range(0.0, 100.0),
                                "Cut at this many standard deviations instead, where the saliency filter knows them."));
}

FixedThreshold::FixedThreshold(Params p) : params_(p) { params_.check(kName); }

SearchOutcome FixedThreshold::search(const SearchProblem&) const {
  SearchOutcome out;
  out.cut = {unit(), lowest_ratio()};
  return out;
}

}  // namespace sage
