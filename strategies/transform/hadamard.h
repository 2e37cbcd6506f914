// Randomized Hadamard rotation: spreads outliers, so that any matrix looks normal to the quantizer.
//
//   input:  W' = W R_n      output: W' = R_m^T W      both: R_m^T W R_n
// R_n is orthogonal for any width n. With p the largest power of two <= n, H_p orthonormal Walsh-Hadamard and D random signs:
//   p = n:  x -> H_n D x
//   p < n:  x -> H on the last p entries, after signs D2, of (H on the first p entries, after signs D1, of x)
// The two passes overlap in 2p - n > 0 entries. D is a function of the stored seed, so decoding needs one integer.
// Source: QuIP#, arXiv:2402.04396, section 3 (randomized Hadamard); the overlapping passes for other widths are ours (QuIP#
// uses a second orthogonal factor that does not exist for every width). Stored: header integer "hadamard_seed". Paper count:
// nothing. Squared errors are the same before and after. Cost: (log2 n) additions per weight and side, and a transpose by tiles
// for the output side. A deployed model rotates its activations as well (input side), which costs O(n log n) per token. When
// not to use it: heavy-tailed matrices whose few salient weights are coded apart lose that advantage.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/transform.h"

namespace sage {

enum class RotatedSide { kInput, kOutput, kBoth };

class HadamardTransform final : public Transform {
 public:
  struct Params {
    RotatedSide side = RotatedSide::kInput;
  };
  static constexpr auto kName = "hadamard";
  static constexpr auto kDoc = "Randomized Hadamard rotation of any width on the input side, the output side or both.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"QuIP#", "arXiv:2402.04396", "section 3"};
  static Schema<Params> schema() {
    return Schema<Params>{}.add(
        "side", &Params::side,
        choices<RotatedSide>({{"input", RotatedSide::kInput}, {"output", RotatedSide::kOutput}, {"both", RotatedSide::kBoth}}),
        "Rotate input channels (columns), output channels (rows), or both.");
  }
  explicit HadamardTransform(Params p) : p_(p) {}

  std::unique_ptr<FittedTransform> fit(const BlockContext& whole_matrix) const override;
  void invert(PlaneReader& reader, View<float> w, const Backend& backend) const override;

 private:
  Params p_;
};

}  // namespace sage
