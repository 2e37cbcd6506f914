#include "strategies/saliency/curvature.h"

#include <cmath>
#include <utility>
#include <vector>

#include "core/util/errors.h"
#include "strategies/saliency/cuts.h"
#include "strategies/saliency/ranked_columns.h"
#include "strategies/saliency/ranked_weights.h"

namespace sage::saliency {

namespace {

// The first score w^2 / d^2 that is not finite, and which of the two made it so.
[[noreturn]] void fail_score(const BlockContext& ctx, WeightView scores, std::span<const float> diagonal, const char* filter,
                             const char* what) {
  for (int64_t i = 0; i < scores.rows; ++i)
    for (int64_t j = 0; j < scores.cols; ++j) {
      if (std::isfinite(scores(i, j))) continue;
      const float w = ctx.weights(i, j), d = diagonal[static_cast<size_t>(j)];
      if (!std::isfinite(w * w))
        throw RunError(
            "{}: weight ({}, {}) is {:g}; expected weights whose squares are finite (below 1.8e19), which saliency {} scores "
            "by; repair the checkpoint, or exclude the matrix",
            ctx.id.name, i, ctx.first_column + j, w, filter);
      throw RunError(
          "{}: saliency {} scores weight ({}, {}) = {:g} by column {} of {}, which is {:g}; expected a value large enough to divide "
          "by; calibrate on more data, or raise percdamp",
          ctx.id.name, filter, i, ctx.first_column + j, w, ctx.first_column + j, what, d);
    }
  throw Error(ExitCode::kInternalError, "saliency: every score is finite");
}

}  // namespace

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
  if (ctx.backend.matrix_stats(std::as_const(t).view()).nonfinite > 0)
    fail_score(ctx, std::as_const(t).view(), diagonal, filter, what);
  if (unit == CurvatureUnit::kWeights) return std::make_unique<RankedWeights>(filter, ctx.backend, std::move(t));
  std::vector<int64_t> order = by_descending_score(column_abs_sums(std::as_const(t).view()));
  return std::make_unique<RankedColumns>(filter, std::move(t), std::move(order));
}

}  // namespace sage::saliency
