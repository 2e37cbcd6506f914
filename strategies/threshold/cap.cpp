#include "strategies/threshold/cap.h"

#include "core/util/errors.h"

namespace sage {

Schema<CapThreshold::Params> CapThreshold::schema() {
  return add_objective(Schema<Params>{}
                           .add("bits", &Params::bits, range(0.0, 64.0), "Most weight bits per weight, by the paper's count.")
                           .add("max_ratio", &Params::max_ratio, range(0.0, 1.0), "Largest salient share considered."));
}

CapThreshold::CapThreshold(Params p) : params_(p) { params_.check(kName); }

SearchOutcome CapThreshold::search(const SearchProblem& problem) const {
  // 1 + 0.01 * 3 and 1.03 differ in the last bit; that is not an excess.
  const auto fits = [&](double r) { return problem.paper_weight_bits(r) <= params_.bits * (1.0 + 1e-12); };
  if (!fits(0.0))
    throw UserError(
        "threshold {}: found {} weight bits without any salient weight; expected at most {}; raise 'bits' or choose a "
        "narrower quantizer",
        kName, problem.paper_weight_bits(0.0), params_.bits);
  double low = 0, high = params_.max_ratio;
  if (fits(high)) low = high;
  while (low < high) {
    const double mid = low + (high - low) / 2;
    if (mid <= low || mid >= high) break;
    (fits(mid) ? low : high) = mid;
  }
  SearchOutcome out;
  out.cut = {Cut::Unit::kRatio, low};
  return out;
}

}  // namespace sage
