// The 1-bit quantizers of PB-LLM: one pair of levels per row of a segment, from weights with the salient ones put to zero.
//
// V_j = w_j where owned and 0 elsewhere, over the g columns of the segment (a row's part of a group):
//   xnor   mu = (1/g) sum_j V_j,  alpha = (1/g) sum_j |V_j - mu|,  what = mu + alpha sgn(w - mu)
//   sign   alpha = (1/g) sum_j max(V_j, 0),                        what = alpha if w > 0, else 0
// divisor: all takes g and sums over all j, so that zeroed positions count as zeros (each adds |mu| to alpha): what the
// released code does, and why its scale is about f times the best one for a share f of owned weights. divisor: owned takes the
// number of owned weights and sums over them. Owned weights that are zero (dead columns) count as any other and get mu +-
// alpha, not 0. sgn(0): torch says 0 (xnor: the weight becomes mu). By default 0 counts as positive, at one bit a sign;
// keep_zero: true keeps the third symbol, and pays for it. Sums are taken in double precision, everything else in FP32 as the
// released code.
//
// Source: PB-LLM, arXiv:2310.00034, Eqs. 1-3 and low_quant.py (`xnor`, `sign`); its 2bit and 4bit are `uniform` with
// pb_zero_group, its prune is `prune`, its no is `keep`. The paper's alpha divides by the number of owned weights: divisor:
// owned. Stored: "pb_signs" (kSign; xnor: 0 = positive, 1 = negative, 2 = zero; sign: 0 = alpha, 1 = 0; 1 bit each, alphabet 3
// with xnor and keep_zero), "pb_scales" (kScale, one per row), "pb_means" (kOffset, one per row, xnor only). Rows that own
// nothing store nothing. Paper count: 1 bit per owned weight, no scale words (the paper's Eq. 3 counts codes and the bitmap of
// salient weights only). Cost: two passes to fit, one to code.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

enum class PbMethod { kXnor, kSign };
enum class PbDivisor { kAll, kOwned };

class PbBinary final : public Quantizer {
 public:
  struct Params {
    PbMethod method = PbMethod::kXnor;
    PbDivisor divisor = PbDivisor::kAll;
    bool keep_zero = false;
  };
  static constexpr auto kName = "pb_binary";
  static constexpr auto kDoc =
      "Two levels per row, around the mean (xnor) or 0 and up (sign), salient weights counted as zeros (PB-LLM).";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"PB-LLM", "arXiv:2310.00034", "low_quant.py, xnor and sign"};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("method", &Params::method, choices<PbMethod>({{"xnor", PbMethod::kXnor}, {"sign", PbMethod::kSign}}),
             "Levels mean - scale and mean + scale, or 0 and scale.")
        .add("divisor", &Params::divisor, choices<PbDivisor>({{"all", PbDivisor::kAll}, {"owned", PbDivisor::kOwned}}),
             "Means over the whole row with zeros for other weights (released code), or over the owned weights (paper).")
        .add("keep_zero", &Params::keep_zero, "xnor: code sgn(0) = 0 as a third symbol, as the released code computes it.");
  }
  explicit PbBinary(Params p) : p_(p) {}

  // `own.mask` must outlive the result. Throws RunError on weights that are not finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return 1; }

 private:
  Params p_;
};

}  // namespace sage
