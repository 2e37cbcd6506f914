#include "strategies/threshold/column_search.h"

#include <algorithm>
#include <vector>

#include "core/util/errors.h"
#include "strategies/quantizer/finite.h"

namespace sage {
namespace {

// Errors of the first least .. most columns of `order` on one side and the others on the other, summed over the rows.
std::vector<double> errors_of_counts(const BlockContext& ctx, WeightView x, std::span<const int64_t> order, int64_t least,
                                     int64_t most, bool centered, int times) {
  // A column's key is its rank, so that a cut at c divides off the first c.
  std::vector<float> rank(order.size()), cuts;
  for (size_t k = 0; k < order.size(); ++k)
    rank[static_cast<size_t>(order[k])] = static_cast<float>(k);
  for (int64_t c = least; c <= most; ++c)
    cuts.push_back(static_cast<float>(c));
  std::vector<double> errors(cuts.size());
  std::vector<int64_t> others(cuts.size());
  ctx.backend.split_errors(x, {.cuts = cuts, .column_keys = rank, .order = times, .centered = centered}, errors, others);
  return errors;
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
    errors = errors_of_counts(ctx, x, order, least, most, params_.centered, params_.order);
    const auto best = std::min_element(errors.begin(), errors.end());  // the first of equal ones
    out.cut.value = static_cast<double>(least + (best - errors.begin()));
    for (double& e : errors) {
      expect_finite(e, ctx.id, kName);
      e /= static_cast<double>(w.size());
    }
  }
  if (ctx.trace != nullptr) {
    ctx.trace->scalar(ctx.trace_name("salient_columns"), out.cut.value);
    const int64_t count = static_cast<int64_t>(errors.size());
    ctx.trace->array(ctx.trace_name("column_search.errors"), {count}, std::move(errors));
  }
  return out;
}

}  // namespace sage
