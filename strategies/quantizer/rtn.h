// Round to nearest on a uniform min-max grid: the plain baseline, and the integer grid GPTQ uses.
//
// For the owned weights x of one row, or of one row and `group_size` columns (the last group may be shorter), all in FP32:
//   lo = min(0, min x), hi = max(0, max x)                      the range always contains 0
//   symmetric: hi = max(|lo|, hi), and lo = -hi if lo < 0;      lo = hi = 0: lo = -1, hi = 1
//   s = (hi - lo) / maxq, maxq = 2^bits - 1;  z = rint(-lo / s), or (maxq + 1) / 2 if symmetric
//   q = clamp(rint(x / s) + z, 0, maxq);  what = s (q - z)      rint: half to even
// Source: GPTQ, arXiv:2210.17323, quant.py of the released code, in its order of operations: with reference numerics the result
// equals it bit for bit, quirks included (symmetric rows without a negative weight clip above the middle). With packed numerics
// s is rounded to FP16 before z and q are taken, and z is clamped to its `bits` bits.
// At 1 bit one of the two levels is zero: this is not sign-times-mean binarization (that is `binary`).
// Stored: "rtn_codes" (kCode, `bits` bits each), "rtn_scales" (kScale), "rtn_zeros" (kOffset, `bits` bits each; asymmetric
// only), row by row, group by group; groups that own nothing store nothing. Paper count: `bits` per weight, the width tables
// claim. They leave scales out; paper_counts_scales adds 16 bits for each. Cost: three light passes. Not for heavy tails with
// few bits: one outlier sets the step of its row.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

class Rtn final : public Quantizer {
 public:
  struct Params {
    int bits = 4;
    int64_t group_size = 0;
    bool symmetric = false;
    bool paper_counts_scales = false;
  };
  static constexpr auto kName = "rtn";
  static constexpr auto kDoc = "Uniform min-max grid per row or per row and group of columns, round to nearest.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"GPTQ", "arXiv:2210.17323", "quant.py, --nearest"};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("bits", &Params::bits, range(1, 8), "Code width, bits.")
        .add("group_size", &Params::group_size, range(int64_t{0}, int64_t{1} << 24),
             "Columns that share a scale; 0 = the whole row.")
        .add("symmetric", &Params::symmetric, "Range symmetric about 0 and no stored zero point.")
        .add("paper_counts_scales", &Params::paper_counts_scales, "Count 16 bits for each scale in paper bits too.");
  }
  explicit Rtn(Params p) : p_(p) {}

  // `own.mask` must outlive the result. Throws RunError on weights that are not finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return p_.bits; }

 private:
  Params p_;
};

}  // namespace sage
