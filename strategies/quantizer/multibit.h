// Mode 1 of SAGE-PTQ: one scale per row (output channel) and a multi-bit code per weight, for the salient weights.
//
// For the owned weights of row i, with x = |w| (or |w| - T), sign kept apart and L = 2^(bits-1) magnitudes j = 0 .. L-1:
//   midrise   |what| = s_i (j + 1/2)
//   midtread  |what| = s_i j
//   offset    |what| = T + s_i j        T = saliency threshold (salient weights start there)
// s_i by alternation: from s = c max(x) / q_max, c in {1, .8, .6}, q_max = L - 1/2 (midrise) or L - 1: up to 8 times
// q = nearest level clipped to the grid, s = <q, x> / <q, q>. Each half step is a least squares optimum given the other, so the
// squared error never rises. The start whose error after storing s_i is least wins, the first one on a tie.
//
// Source: SAGE-PTQ, arXiv:2606.05429, Mode 1. Where we differ: the public text names neither grid nor fit; all three grids are
// options, `midrise` is the default of our paper reading. Codes are taken after s_i was rounded to FP16.
// Stored: "multibit_codes" (kCode, sign bit then magnitude: symbol = negative * L + j; `bits` bits each), "multibit_scales"
// (kScale, rows that own weights), "multibit_offset" (kOffset, T, one per block, offset grid only).
// Paper count: bits per owned weight; one scale word per row.
// Cost: about 24 passes over the owned weights; meant for small shares. Not for: whole matrices at 2 bits (uniform or binary
// with groups do better for less).
#pragma once

#include <span>
#include <vector>

#include "core/registry/registry.h"
#include "core/strategy/quantizer.h"

namespace sage {

enum class MultibitGrid { kMidrise, kMidtread, kOffset };

struct StepFit {
  float step = 0;            // s, as stored
  double squared_error = 0;  // with s as stored
};
// Fits s to magnitudes x (T already subtracted for the offset grid). paths (optional): for each start the squared error after
// every alternation, before s is rounded.
StepFit fit_step(std::span<const double> x, MultibitGrid grid, int levels, Numerics numerics,
                 std::vector<std::vector<double>>* paths = nullptr);

class Multibit final : public Quantizer {
 public:
  struct Params {
    int bits = 4;
    MultibitGrid grid = MultibitGrid::kMidrise;
  };
  static constexpr auto kName = "multibit";
  static constexpr auto kDoc = "One scale per row and a signed multi-bit code per weight (Mode 1).";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"SAGE-PTQ", "arXiv:2606.05429", "Mode 1"};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("bits", &Params::bits, range(2, 8), "Code width, bits, sign included.")
        .add("grid", &Params::grid,
             choices<MultibitGrid>({{"midrise", MultibitGrid::kMidrise},
                                    {"midtread", MultibitGrid::kMidtread},
                                    {"offset", MultibitGrid::kOffset}}),
             "Magnitudes s(j + 1/2), s j, or T + s j with T the saliency threshold.");
  }
  explicit Multibit(Params p) : p_(p) {}

  // `own.mask` must outlive the result. Throws RunError on weights that are not finite.
  std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                       double threshold) const override;
  void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const override;
  double nominal_bits() const override { return p_.bits; }

 private:
  Params p_;
};

}  // namespace sage
