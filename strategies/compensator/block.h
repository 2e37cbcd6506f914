// Compensation between blocks only, for quantizers that code a block of columns at once.
//
// With D = W_b - Q_b, the error of a block of k columns, and U the upper factor of the inverse Hessian:
//   released (BiLLM)   E_:i = D_:i / U_ii                each column's error as if the others of the block had none
//   exact              E = D U_bb^-1                     the least-squares optimum for the columns after the block:
//                      tr(R H R^T) over R = [D, Delta] is least at Delta = -E U_b,rest
// Both are the same where U_bb is diagonal.
//
// Source: BiLLM, arXiv:2402.04291, Alg. 1 and the released code (deliberately without compensation inside blocks). `exact` is
// the optimal block update, an ablation of ours. Stored: nothing. Cost: n m operations; exact: n m k.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/compensator.h"

namespace sage {

class BlockCompensation final : public Compensator {
 public:
  struct Params {};
  static constexpr auto kName = "block";
  static constexpr auto kDoc = "Block by block, each column's error by itself; no correction inside a block (BiLLM).";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"BiLLM", "arXiv:2402.04291", "Alg. 1"};
  static Schema<Params> schema() { return {}; }
  explicit BlockCompensation(Params) {}

  Correction correction() const override { return Correction::kOwn; }
  void block_error(WeightView u, View<float> weights, WeightView decoded, View<float> error,
                   const Backend& backend) const override;
};

class BlockExactCompensation final : public Compensator {
 public:
  struct Params {};
  static constexpr auto kName = "block_exact";
  static constexpr auto kDoc = "Block by block with the optimal update of the columns after the block.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"GPTQ", "arXiv:2210.17323", "Eq. 3 for a set of columns"};
  static Schema<Params> schema() { return {}; }
  explicit BlockExactCompensation(Params) {}

  Correction correction() const override { return Correction::kBlock; }
  void block_error(WeightView u, View<float> weights, WeightView decoded, View<float> error,
                   const Backend& backend) const override;
};

}  // namespace sage
