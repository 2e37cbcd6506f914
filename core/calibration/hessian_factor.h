// From a Gram to what compensators and saliencies use: the upper Cholesky factor U of the damped Hessian's inverse.
//
//   dead    = { j : H_jj = 0 }, then H_jj = 1 for them; where all are, U is a multiple of the identity: no compensation
//   lambda  = percdamp * mean_j H_jj            (mean after the dead columns were set to 1)
//   H^-1    = U^T U,  U upper triangular        H with lambda added to its diagonal
//   [H^-1]_jj = sum_{i <= j} U_ij^2
//   U_jj^2  = [ (H_{j:, j:})^-1 ]_11            the inverse given that columns before j are fixed; equals [H^-1]_jj at j = 0
//   only
//
// GPTQ (arXiv:2210.17323, Sec. 3.2, step 3), and the same lines in PB-LLM and BiLLM.
//
// Where we differ from the released code: it factors H, forms the inverse and factors that. Here, with J the matrix that
// reverses the order, J H J = L L^T gives U = J L^-1 J at once: half the work, and the inverse, whose rounding errors grow with
// the condition number, is never formed. The released code fails when H is not positive definite; here damping grows tenfold
// until it is, up to max_percdamp.
//
// Cost: 2/3 m^3 operations (LAPACK potrf, trtri), one m x m buffer in the precision of the computation. Deterministic: LAPACK
// runs on one thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/calibration/gram.h"

namespace sage {

struct FactorOptions {
  double percdamp = 0.01;                          // lambda / mean diagonal
  double max_percdamp = 1.0;                       // the largest that is tried; a retry multiplies by ten (0: goes on at 1e-4)
  GramPrecision precision = GramPrecision::kFp32;  // of factorization and inverse; U is handed out in FP32 either way
  bool act_order = false;                          // factor the Gram in act_order()
};

struct HessianFactor {
  Matrix upper;                         // U, zero below the diagonal
  std::vector<float> inverse_diagonal;  // [H^-1]_jj, in the order of U's columns
  std::vector<int32_t> dead;            // columns of the original order, ascending
  std::vector<int32_t> order;           // column k of U belongs to original column order[k]; empty = as it stands
  double percdamp = 0;                  // as used in the end
  double damping = 0;                   // lambda
  int retries = 0;                      // 0 = the damping asked for was enough
};

// Reads the upper triangle of `gram` (m x m). RunError naming the layer: what check_gram refuses, other entries that are not
// finite, not positive definite with the largest damping. Retries are logged as warnings. UserError: percdamp negative or above
// max_percdamp.
HessianFactor factor_hessian(WeightView gram, const FactorOptions& options, const std::string& layer);

// Columns by descending H_jj after the dead columns were set to 1, before damping (GPTQ --act-order). Equal ones keep their
// order (in the released code it is unspecified).
std::vector<int32_t> act_order(WeightView gram);
// order^-1: inverse[order[k]] = k.
std::vector<int32_t> inverse_order(std::span<const int32_t> order);
// out(k, l) = gram(order[k], order[l]); the upper triangle of `gram` is read, both of `out` are written.
Matrix permute_gram(WeightView gram, std::span<const int32_t> order);

}  // namespace sage
