#include "strategies/saliency/curvature.h"

#include <utility>
#include <vector>

#include "core/util/errors.h"
#include "strategies/saliency/cuts.h"
#include "strategies/saliency/ranked_columns.h"
#include "strategies/saliency/ranked_weights.h"

namespace sage::saliency {

std::unique_ptr<SaliencyScores> curvature_scores(const BlockContext& ctx, std::span<const float> diagonal, CurvatureUnit unit,
                                                 const char* filter, const char* what) {
  finite_stats(ctx);
  const WeightView w = ctx.weights;
  if (diagonal.empty() && w.cols > 0)
    throw RunError(
        "{}: saliency {} needs {} and found none; expected one value per column; add a calibration section or --gram",
        ctx.id.name, filter, what);
  if (static_cast<int64_t>(diagonal.size()) != w.cols)
    throw Error(ExitCode::kInternalError, "saliency: the diagonal does not have one value per column");
  std::vector<float> squares;
  for (const float d : diagonal)
    squares.push_back(d * d);
  Matrix t(w.rows, w.cols);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < w.rows; ++i) {
    const float* from = w.row(i);
    float* to = t.row(i);
    for (int64_t j = 0; j < w.cols; ++j)
      to[j] = from[j] * from[j] / squares[static_cast<size_t>(j)];
  }
  const int64_t broken = ctx.backend.matrix_stats(std::as_const(t).view()).nonfinite;
  if (broken > 0)
    throw RunError(
        "{}: saliency {} found {} scores that are NaN or infinite; expected finite ones: {} holds values too small to divide "
        "by; "
        "calibrate on more data, or raise percdamp",
        ctx.id.name, filter, broken, what);
  if (unit == CurvatureUnit::kWeights) return std::make_unique<RankedWeights>(filter, ctx.backend, std::move(t));
  std::vector<int64_t> order = by_descending_score(column_abs_sums(std::as_const(t).view()));
  return std::make_unique<RankedColumns>(filter, std::move(t), std::move(order));
}

}  // namespace sage::saliency
