// Residual binarization around the mean: the binarizer of BiLLM.
//
// For the owned weights x of unit u = (row, group) of the segment, n_u of them, order by order, o = 1 .. K (`order`):
//   mu_o = mean of r                r = x - S, S = sum of the orders before (0 at first)
//   alpha_o = mean of |r - mu_o|
//   S += mu_o + alpha_o sgn(r - mu_o)
// what = S. Both means divide by n_u, the weights really owned (PB-LLM's `pb_binary` divides by the width of the group).
// mean: false drops the mu_o. Weights that moved since the fit are coded the same way with mu_o and alpha_o fixed: each order
// takes the sign of what is left. Sums are taken in double precision, everything else in FP32 in the order above, as the
// released code. sgn(0): torch says 0, so there an element equal to its mean becomes its mean, a third level that one stored
// bit cannot tell. By default 0 counts as positive, and a sign costs one bit; keep_zero: true keeps the third symbol, and pays
// for it. merge_means: true stores mu_1 + ... + mu_K as one number, since a decoder needs no more: what = mu + sum_o alpha_o
// sgn_o, summed in this order. The mu_o that signs are taken around are then never stored and stay FP32. false: each mu_o is
// stored, rounded, before its alpha_o is computed.
//
// Source: BiLLM, arXiv:2402.04291, Eqs. 5-8 and Alg. 2 (BRAQ); the mean is in the released code (binary.py) only. Order 2 for
// salient columns, order 1 for the two groups of the others.
// Stored: "residual_signs_1" .. "residual_signs_K" (kSign; 0 = positive, 1 = negative, 2 = zero; 1 bit each, alphabet 3 with
// keep_zero), "residual_scales" (kScale: row by row, group by group, alpha_1 .. alpha_K), "residual_means" (kOffset: likewise,
// or one a unit when merged). Units that own nothing store nothing. So a row and block of BiLLM stores 7 numbers (2 + 2 + 3), 8
// without merge_means. Paper count: `order` bits per owned weight, no scale words: BiLLM's N_param = 1 + r leaves all of its
// scales out. Cost: 2 K passes to fit, one to code.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

class ResidualBinary final : public Quantizer {
 public:
  static constexpr int kMaxOrder = ResidualRule::kMostOrders;
  struct Params {
    int order = 1;
    bool mean = true;
    bool merge_means = true;
    bool keep_zero = false;
  };
  static constexpr auto kName = "residual_binary";
  static constexpr auto kDoc =
      "Signs around the mean of each row and group, then signs of what is left, order by order (BiLLM).";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "residual approximation, binary.py"};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("order", &Params::order, range(1, kMaxOrder), "Signs per weight.")
        .add("mean", &Params::mean, "Take signs around the mean, as the released code; false: around 0, as the text.")
        .add("merge_means", &Params::merge_means, "Store the sum of the means of all orders as one number.")
        .add("keep_zero", &Params::keep_zero, "Code sgn(0) = 0 as a third symbol, as the released code computes it.");
  }
  explicit ResidualBinary(Params p) : p_(p) {}

  // `own.mask` and, unless it is a single group, `groups` must outlive the result. Throws RunError on weights that are not
  // finite and on more units than weights.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return p_.order; }

 private:
  Params p_;
};

}  // namespace sage
