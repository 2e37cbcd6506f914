#include "strategies/threshold/objective.h"

#include <algorithm>
#include <cmath>

#include "core/util/errors.h"

namespace sage {

double Objective::value(const TrialResult& r) const {
  switch (objective) {
    case Kind::kError: return r.relative_error;
    case Kind::kLagrangian: return r.relative_error + lambda * (lambda_bits == Bits::kPaper ? r.paper_bits : r.stored_bits);
    case Kind::kRateDistortion: return 0.5 * std::log2(std::max(r.relative_error, 1e-30)) + r.stored_bits;
    case Kind::kBudget: {
      const double excess = r.stored_bits - budget.value_or(0.0);
      return r.relative_error + (excess > 0 ? 4.0 + 100.0 * excess : 0.0);
    }
  }
  return 0;
}

void Objective::check(const char* searcher) const {
  if (objective == Kind::kBudget && !budget)
    throw UserError("threshold {}: found objective 'budget' without a budget; expected stored bits per weight; set 'budget'",
                    searcher);
}

}  // namespace sage
