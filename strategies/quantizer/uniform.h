// A uniform min-max grid per row or per row and group of columns: round to nearest, the grid of GPTQ, and the high (and 2-bit,
// 4-bit low) quantizers of PB-LLM.
//
// For the weights x of one row, or of one row and `group_size` columns of the segment (the last group may be shorter), all in
// FP32; x are the owned weights (range: own), or all weights of the row and group, owned or not (range: all, as PB-LLM's high
// quantizer is calibrated):
//   lo = min(0, min x), hi = max(0, max x)                      the range always contains 0
//   symmetric: hi = max(|lo|, hi), and lo = -hi if lo < 0;      lo = hi = 0: lo = -1, hi = 1
//   s = (hi - lo) / maxq, maxq = 2^bits - 1;  z = rint(-lo / s), or (maxq + 1) / 2 if symmetric
//   q = clamp(rint(x / s) + z, 0, maxq);  what = s (q - z)      rint: half to even
// mse: of the 80 ranges (p lo, p hi), p = 1 - i / 100, i = 0 .. 79, the one with the least sum |x - what|^2.4, the first on a
// tie. trits: what = hi if x > hi / 2, lo if x < lo / 2, else 0; `bits` is not looked at. pb_zero_group = g > 0: PB-LLM's
// `2bit` (bits: 2) and `4bit` (bits: 3, its maxq is 7) divide by the scale of one wrong row:
//   z = rint(-lo / s_k), s_k of row k = first_column / g of the matrix, k the ordinal of the group of g columns. z may then lie
//   far beyond the codes. RunError if the matrix has no row k (the released code fails there too).
//
// Source: GPTQ, arXiv:2210.17323, quant.py of the released code, in its order of operations, and PB-LLM, arXiv:2310.00034,
// low_quant.py: with reference numerics the result equals theirs bit for bit, quirks included (symmetric rows without a
// negative weight clip above the middle). The sum of mse is added up in double precision from FP32 terms; the released sum is
// FP32, so ranges whose errors agree to about 1e-6 may change places. With packed numerics s (trits: hi and lo) is rounded to
// FP16 before z and q are taken and before a range is judged, and z is clamped to its `bits` bits. At 1 bit one of the two
// levels is zero: this is not sign-times-mean binarization (that is `binary`). Stored: "uniform_codes" (kCode, `bits` bits
// each; trits: an alphabet of 3), "uniform_scales" (kScale; trits: hi), "uniform_minima" (kScale, trits only: lo),
// "uniform_zeros" (kOffset, `bits` bits each; asymmetric only) or, with pb_zero_group, "uniform_zero_numbers" (kOffset, a real
// number each), row by row, group by group; groups that own nothing store nothing. Paper count: `bits` per weight (trits: log2
// 3), the width tables claim; GPTQ and PB-LLM leave scales out of it; paper_counts_scales adds 16 bits for each. Cost: three
// light passes; mse about 80 with a power each (1 s per million weights). Not for heavy tails with few bits: one outlier sets
// the step of its row.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

enum class UniformRange { kOwn, kAll };

class Uniform final : public Quantizer {
 public:
  struct Params {
    int bits = 4;
    int64_t group_size = 0;
    bool symmetric = false;
    bool paper_counts_scales = false;
    bool mse = false;
    bool trits = false;
    UniformRange range = UniformRange::kOwn;
    int64_t pb_zero_group = 0;
  };
  static constexpr auto kName = "uniform";
  static constexpr auto kDoc = "Uniform min-max grid per row or per row and group of columns, round to nearest (RTN, GPTQ).";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"GPTQ", "arXiv:2210.17323", "quant.py"};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("bits", &Params::bits, range(1, 8), "Code width, bits.")
        .add("group_size", &Params::group_size, range(int64_t{0}, int64_t{1} << 24),
             "Columns that share a scale; 0 = the whole row.")
        .add("symmetric", &Params::symmetric, "Range symmetric about 0 and no stored zero point.")
        .add("paper_counts_scales", &Params::paper_counts_scales, "Count 16 bits for each scale in paper bits too.")
        .add("mse", &Params::mse, "Shrink the range to the one of 80 with the least sum of |error|^2.4.")
        .add("trits", &Params::trits, "Three levels, greatest, 0 and least weight, instead of a grid.")
        .add("range", &Params::range, choices<UniformRange>({{"own", UniformRange::kOwn}, {"all", UniformRange::kAll}}),
             "Which weights of a row span its grid: the owned ones, or all (PB-LLM's high quantizer).")
        .add("pb_zero_group", &Params::pb_zero_group, range(int64_t{0}, int64_t{1} << 24),
             "Zero points as PB-LLM's 2bit and 4bit get them, for groups of so many columns; 0 = off.");
  }
  explicit Uniform(Params p);  // UserError: trits with mse; pb_zero_group with trits, symmetric or group_size

  // `own.mask` must outlive the result. Throws RunError on weights that are not finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override;

 private:
  Params p_;
};

}  // namespace sage
