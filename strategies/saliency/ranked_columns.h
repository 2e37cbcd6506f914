// Scores of filters that rank whole columns.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "core/strategy/saliency.h"

namespace sage::saliency {

// sum_i |t_ij| of every column j, in double; rows are added up in chunks of fixed size, so that threads do not matter.
std::vector<double> column_abs_sums(WeightView t);
// Columns by descending score; of equal ones the left one comes first.
std::vector<int64_t> by_descending_score(std::span<const double> scores);

// Cuts: kRatio r keeps c = floor(r n) of the n columns, kCount keeps c. UserError for others, naming `filter`.
class RankedColumns final : public SaliencyScores {
 public:
  // `target` is a view of what the caller keeps alive.
  RankedColumns(const char* filter, WeightView target, std::vector<int64_t> order)
      : filter_(filter), target_(target), order_(std::move(order)) {}
  RankedColumns(const char* filter, Matrix target, std::vector<int64_t> order)
      : filter_(filter), owned_(std::move(target)), target_(std::as_const(owned_).view()), order_(std::move(order)) {}

  SaliencyMask select(const Cut& cut) const override;
  WeightView target() const override { return target_; }
  std::span<const int64_t> columns_by_score() const override { return order_; }

 private:
  int64_t count_of(const Cut& cut) const;
  const char* filter_;
  Matrix owned_;
  WeightView target_;
  std::vector<int64_t> order_;
};

}  // namespace sage::saliency
