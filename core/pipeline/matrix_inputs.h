// What the stages of a matrix start from: its transformed weights, and the factored Hessian of the inputs these see.
#pragma once

#include <span>
#include <vector>

#include "core/pipeline/matrix_engine.h"

namespace sage {

// W' = T(W): W itself, or a copy in `storage`.
WeightView transformed(const Pipeline& pipeline, const FittedTransform& transform, WeightView w, Matrix& storage, const Backend& backend);

// The factors of the inverse Hessian a pipeline works with, and the order of columns they are in. Empty where it needs none.
class MatrixCalibration {
 public:
  // RunError naming the matrix when the Gram is missing or of another width.
  MatrixCalibration(const Pipeline& pipeline, const MatrixJob& job, const FittedTransform& transform, const Backend& backend);

  bool present() const { return factor_ != nullptr; }
  WeightView upper() const { return present() ? factor_->upper.view() : WeightView(); }
  // By stored column, whatever the order of work.
  std::span<const float> diagonal() const { return diagonal_; }
  std::span<const float> inverse_diagonal() const { return inverse_diagonal_; }
  std::span<const int32_t> dead() const { return present() ? std::span<const int32_t>(factor_->dead) : std::span<const int32_t>(); }
  // Position in the order of work -> stored column.
  std::vector<int64_t> order(int64_t cols) const;
  void report(Trace& trace) const;

 private:
  const HessianFactor* factor_ = nullptr;
  HessianFactor own_;
  std::vector<float> diagonal_, inverse_diagonal_;
};

}  // namespace sage
