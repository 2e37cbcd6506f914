// What the two Hessian filters share: they differ in the diagonal alone.
#pragma once

#include <memory>
#include <span>

#include "core/strategy/saliency.h"

namespace sage::saliency {

// What is cut: single weights, or whole columns.
enum class CurvatureUnit { kWeights, kColumns };

inline MaskShape mask_shape_of(CurvatureUnit unit) {
  return unit == CurvatureUnit::kColumns ? MaskShape::kColumns : MaskShape::kElements;
}
inline bool supports_cut(CurvatureUnit unit, Cut::Unit cut) {
  return cut == Cut::Unit::kRatio || cut == (unit == CurvatureUnit::kColumns ? Cut::Unit::kCount : Cut::Unit::kPercentile);
}

// T_ij = fl(w_ij^2) / fl(d_j^2), every operation rounded to float as in the released code; ranked weight by weight, or columns
// by sum_i T_ij. `diagonal` holds d_j; `what` says in messages what it is. RunError: no diagonal, or scores that are not
// finite.
std::unique_ptr<SaliencyScores> curvature_scores(const BlockContext& ctx, std::span<const float> diagonal, CurvatureUnit unit,
                                                 const char* filter, const char* what);

}  // namespace sage::saliency
