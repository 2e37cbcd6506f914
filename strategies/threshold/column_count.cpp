#include "strategies/threshold/column_count.h"

#include <algorithm>

namespace sage {

Schema<ColumnCount::Params> ColumnCount::schema() {
  return add_objective(
      Schema<Params>{}.add("columns", &Params::columns, range(0, 1 << 20), "Number of salient columns in every block."));
}

ColumnCount::ColumnCount(Params p) : params_(p) { params_.check(kName); }

SearchOutcome ColumnCount::search(const SearchProblem& problem) const {
  const int64_t asked = params_.columns;
  SearchOutcome out;
  out.cut = {unit(), static_cast<double>(problem.context ? std::min(asked, problem.context->weights.cols) : asked)};
  return out;
}

}  // namespace sage
