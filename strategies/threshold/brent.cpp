#include "strategies/threshold/brent.h"

#include <algorithm>
#include <boost/math/tools/minima.hpp>
#include <cmath>

#include "core/util/errors.h"
#include "strategies/threshold/scan.h"

namespace sage {

Schema<BrentThreshold::Params> BrentThreshold::schema() {
  return add_objective(Schema<Params>{}
                           .add("lo", &Params::lo, range(0.0, 1.0), "Smallest salient share tried.")
                           .add("hi", &Params::hi, range(0.0, 1.0), "Largest salient share tried.")
                           .add("points", &Params::points, range(3, 10000), "Points of the coarse grid.")
                           .add("tolerance", &Params::tolerance, range(1e-9, 0.1), "Absolute accuracy of the share."));
}

BrentThreshold::BrentThreshold(Params p) : params_(p) {
  params_.check(kName);
  if (params_.lo > params_.hi)
    throw UserError("threshold {}: found lo = {} above hi = {}; expected lo <= hi; exchange them", kName, params_.lo,
                    params_.hi);
}

SearchOutcome BrentThreshold::search(const SearchProblem& problem) const {
  threshold::Scan scan(problem, params_);
  scan.grid(params_.lo, params_.hi, params_.points);
  const size_t best = scan.best(), last = scan.path().size() - 1;
  const double a = scan.path()[best == 0 ? 0 : best - 1].cut.value, b = scan.path()[std::min(best + 1, last)].cut.value;
  if (b - a > params_.tolerance) {
    // Boost's accuracy is relative to the position. On the interval mapped to [1, 2] it is within a factor two of an absolute
    // one.
    const int bits = std::clamp(static_cast<int>(std::ceil(2.0 - std::log2(params_.tolerance / (b - a)))), 3, 50);
    std::uintmax_t iterations = 60;
    boost::math::tools::brent_find_minima([&](double u) { return scan.at(u == 2.0 ? b : a + (u - 1.0) * (b - a)); }, 1.0, 2.0,
                                          bits, iterations);
  }
  return std::move(scan).outcome();
}

}  // namespace sage
