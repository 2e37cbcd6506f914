// Mode 2 of SAGE-PTQ: a sign per weight and scales shared by groups.
//
//   what_ij = mu_u + alpha_u sgn(w_ij - mu_u)          sgn(0) = +1, mu_u = 0 unless mean_shift
//   alpha_u = mean over unit u of |w_ij - mu_u|,  mu_u = mean of w_ij
// The unit u of a weight is its group g (scale: group), its row i (row), or both (row_group). With scale: rank1,
//   what_ij = alpha_i beta_j sgn(w_ij)
// by alternating least squares of |w| over the owned weights, beta scaled to unit RMS; alpha is fitted once more after beta was
// rounded. All parameters are rounded to FP16 first, and the error is that of the rounded ones:
//   SSE_u = sum (w - mu_u)^2 - 2 alpha_u sum |w - mu_u| + n_u alpha_u^2, from moments, without coding anything.
//
// Source: SAGE-PTQ, arXiv:2606.05429, Mode 2 (scale: group, no shift). row, row_group, rank1 and mean_shift are options of
// ours. Stored: "signs" (kSign, 1 = negative, 1 bit), "binary_scales" (kScale: one per group; per row; per row and group; rows,
// then columns for rank1), "binary_shifts" (kOffset, like the scales). Rows that own nothing store nothing. Paper count: 1 bit
// per owned weight; scale words K, rows, rows * K, rows + cols; a shift counts as one more word. Cost: one pass to fit (2 with
// mean_shift, passes + 1 for rank1), one to code.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

enum class BinaryScale { kGroup, kRow, kRowGroup, kRank1 };

class Binary final : public Quantizer {
 public:
  struct Params {
    BinaryScale scale = BinaryScale::kGroup;
    bool mean_shift = false;
    int passes = 4;
  };
  static constexpr auto kName = "binary";
  static constexpr auto kDoc = "A sign per weight, scaled by the mean magnitude of its group, row or rank-1 pattern (Mode 2).";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "Mode 2"};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("scale", &Params::scale,
             choices<BinaryScale>({{"group", BinaryScale::kGroup},
                                   {"row", BinaryScale::kRow},
                                   {"row_group", BinaryScale::kRowGroup},
                                   {"rank1", BinaryScale::kRank1}}),
             "What shares a scale: a group, a row, the part of a group in a row, or rows times columns (alpha_i beta_j).")
        .add("mean_shift", &Params::mean_shift, "Binarize around the stored mean of the unit instead of around 0.")
        .add("passes", &Params::passes, range(1, 64), "Alternating passes of rank1.");
  }
  explicit Binary(Params p);  // UserError: mean_shift with rank1

  // `own.mask` and, unless it is a single group, `groups` must outlive the result. Throws RunError on weights that are not
  // finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return 1; }

 private:
  Params p_;
};

}  // namespace sage
