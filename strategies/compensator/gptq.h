// GPTQ's compensation: every column's error goes into all columns after it.
//
//   e_c = (w_c - q_c) / U_cc,   w_j <- w_j - U_cj e_c   for j > c        H^-1 = U^T U, upper factor of the damped Hessian
// inside the block at once, and for the columns after the block together (compensator.h): E U_b,rest.
//
// Source: GPTQ, arXiv:2210.17323, Alg. 1 (lazy batches); PB-LLM, arXiv:2310.00034, uses the same loop. In FP32 in the released
// code's order of operations. Stored: nothing. Cost: n m k operations for blocks of k columns, in vector code, and n m^2 in
// products. Not for: quantizers that fix their parameters to signs of the weights before compensation moves them far (1 bit):
// errors pile up in late columns.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/compensator.h"

namespace sage {

class GptqCompensation final : public Compensator {
 public:
  struct Params {};
  static constexpr auto kName = "gptq";
  static constexpr auto kDoc = "Column by column: each column's error is moved into all later ones.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{"GPTQ", "arXiv:2210.17323", "Alg. 1"};
  static Schema<Params> schema() { return {}; }
  explicit GptqCompensation(Params) {}

  Correction correction() const override { return Correction::kColumnwise; }
  void column_done(WeightView u, int64_t c, View<float> tile, std::span<const float> decoded, std::span<float> error,
                   const Backend& backend) const override;
};

}  // namespace sage
