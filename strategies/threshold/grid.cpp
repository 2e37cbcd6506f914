#include "strategies/threshold/grid.h"

#include "core/util/errors.h"
#include "strategies/threshold/scan.h"

namespace sage {

Schema<GridThreshold::Params> GridThreshold::schema() {
  return add_objective(Schema<Params>{}
                           .add("lo", &Params::lo, range(0.0, 1.0), "Smallest salient share tried.")
                           .add("hi", &Params::hi, range(0.0, 1.0), "Largest salient share tried.")
                           .add("points", &Params::points, range(1, 10000), "How many shares are tried."));
}

GridThreshold::GridThreshold(Params p) : params_(p) {
  params_.check(kName);
  if (params_.lo > params_.hi)
    throw UserError("threshold {}: found lo = {} above hi = {}; expected lo <= hi; exchange them", kName, params_.lo,
                    params_.hi);
}

SearchOutcome GridThreshold::search(const SearchProblem& problem) const {
  threshold::Scan scan(problem, params_);
  scan.grid(params_.lo, params_.hi, params_.points);
  return std::move(scan).outcome();
}

}  // namespace sage
