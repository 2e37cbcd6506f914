#include "strategies/threshold/column_search.h"

#include <algorithm>
#include <vector>

#include "core/util/errors.h"
#include "strategies/binarization/binarization_error.h"

namespace sage {
namespace {

// Sum over all rows of the error with the first c columns of `order` on one side, for c = least .. most.
std::vector<double> split_errors(WeightView x, std::span<const int64_t> order, int64_t least, int64_t most,
                                 BinarizationRule rule) {
  constexpr int64_t kChunk = 64;  // rows added up by one thread, in order
  const int64_t chunks = (x.rows + kChunk - 1) / kChunk, candidates = most - least + 1;
  std::vector<double> partial(static_cast<size_t>(chunks * candidates), 0.0);
#pragma omp parallel
  {
    std::vector<double> row(static_cast<size_t>(x.cols));  // best column first: both sides are contiguous
#pragma omp for schedule(static)
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      double* errors = partial.data() + chunk * candidates;
      for (int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, x.rows); ++i) {
        for (size_t k = 0; k < row.size(); ++k)
          row[k] = x(i, order[k]);
        const std::span<const double> all(row);
        for (int64_t c = least; c <= most; ++c) {
          const size_t taken = static_cast<size_t>(c);
          errors[c - least] += binarization_error(all.first(taken), rule) + binarization_error(all.subspan(taken), rule);
        }
      }
    }
  }
  std::vector<double> total(static_cast<size_t>(candidates), 0.0);
  for (int64_t chunk = 0; chunk < chunks; ++chunk)
    for (int64_t c = 0; c < candidates; ++c)
      total[static_cast<size_t>(c)] += partial[static_cast<size_t>(chunk * candidates + c)];
  return total;
}

}  // namespace

Schema<ColumnSearch::Params> ColumnSearch::schema() {
  return add_objective(
      Schema<Params>{}
          .add("least", &Params::least, range(1, 1 << 20), "Fewest salient columns tried.")
          .add("most", &Params::most, range(1, 1 << 20), "Most salient columns tried, below the block's width.")
          .add("error_on", &Params::error_on,
               choices<ErrorOn>({{"saliency", ErrorOn::kSaliency}, {"weights", ErrorOn::kWeights}}),
               "What is binarized on trial: what the saliency filter measures by, or the weights.")
          .add("order", &Params::order, range(1, 2), "How many times either side is binarized.")
          .add("centered", &Params::centered, "Whether every binarization subtracts the mean first."));
}

ColumnSearch::ColumnSearch(Params p) : params_(p) {
  params_.check(kName);
  if (params_.least > params_.most)
    throw UserError("threshold {}: found least = {} above most = {}; expected least <= most; exchange them", kName,
                    params_.least, params_.most);
}

SearchOutcome ColumnSearch::search(const SearchProblem& problem) const {
  if (problem.context == nullptr || problem.scores == nullptr)
    throw Error(ExitCode::kInternalError, "threshold column_search: needs the block and its scores");
  const BlockContext& ctx = *problem.context;
  const WeightView w = ctx.weights;
  const WeightView x = params_.error_on == ErrorOn::kSaliency ? problem.scores->target() : w;
  const std::span<const int64_t> order = problem.scores->columns_by_score();
  if (static_cast<int64_t>(order.size()) != w.cols || x.rows != w.rows || x.cols != w.cols)
    throw UserError(
        "threshold {}: found a saliency filter that does not rank columns; expected one that does; choose columns, or hessian "
        "with unit: columns",
        kName);

  const int64_t most = std::min<int64_t>(params_.most, w.cols - 1), least = std::min<int64_t>(params_.least, most);
  SearchOutcome out;
  out.cut = {unit(), 0};
  std::vector<double> errors;
  if (most >= 1 && w.rows > 0) {
    errors = split_errors(x, order, least, most, {params_.order, params_.centered});
    const auto best = std::min_element(errors.begin(), errors.end());  // the first of equal ones
    out.cut.value = static_cast<double>(least + (best - errors.begin()));
    for (double& e : errors)
      e /= static_cast<double>(w.size());
  }
  if (ctx.trace != nullptr) {
    ctx.trace->scalar(ctx.trace_name("salient_columns"), out.cut.value);
    const int64_t count = static_cast<int64_t>(errors.size());
    ctx.trace->array(ctx.trace_name("column_search.errors"), {count}, std::move(errors));
  }
  return out;
}

}  // namespace sage
