// The Gram ("Hessian") of a linear layer's inputs, accumulated over calibration sequences:
//
//   H = (2/N) sum_{s=1..N} X_s^T X_s        X_s: L x m, the layer's input for sequence s (GPTQ, arXiv:2210.17323, Sec. 3.1;
//                                           m x L and X X^T there)
//   H <- H (t-1)/t + (2/t) X_t^T X_t        as sequence t arrives: the mean over sequences of the sum over tokens
//
// The update is one symmetric rank-L update in FP32, as in the released code, or in FP64 with one rounding to FP32 at the end.
// Where we differ from the released code: it multiplies X by sqrt(2/t) first, which costs a copy of X and changes last bits
// only. Cost: L m (m + 1) operations a sequence; memory m^2 floats (doubles) of the backend while accumulating; on a device the
// diagonal (m numbers) comes back after each update.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/backend/memory.h"

namespace sage {

enum class GramPrecision { kFp32, kFp64 };
const char* gram_precision_name(GramPrecision precision);  // "fp32", "fp64"

struct Gram {
  Matrix matrix;          // m x m, symmetric, both triangles
  int64_t sequences = 0;  // N
  int64_t tokens = 0;     // rows of all X together
};

// Deterministic: the result depends on the order of add() alone. Not for use from several threads.
class GramAccumulator {
 public:
  // `layer` names the layer in messages; the backend must outlive the object.
  GramAccumulator(std::string layer, int64_t cols, GramPrecision precision, const Backend& backend);
  // `x` (host memory, or the backend's) holds the inputs of `sequences` whole sequences, one below the other. RunError: an
  // entry of x is NaN or infinite, or a sum overflows; names layer, token and column.
  void add(WeightView x, int64_t sequences = 1);
  // Ends the accumulation. RunError: nothing was added. Inputs that were all zero give a Gram of zeros: every column is dead
  // (hessian_factor.h).
  Gram finish();

 private:
  void check_finite(WeightView x, const std::vector<double>& diagonal) const;

  std::string layer_;
  int64_t cols_;
  GramPrecision precision_;
  const Backend& backend_;
  // Of the three the one that fits precision and kind of memory: a Gram in host memory is handed out without a copy.
  Matrix single_;
  BackendArray<float> device_single_;
  BackendArray<double> double_;
  int64_t sequences_ = 0, tokens_ = 0;
};

// Makes an m x m Gram symmetric: a lower triangle of zeros is filled from the upper one. RunError: not square, NaN or infinity,
// or the lower triangle holds something else than the upper one (relative to sqrt(H_ii H_jj) by more than 1e-3).
void complete_gram(View<float> gram, const std::string& name);

// RunError naming the layer: not cols x cols, NaN or infinity or a negative number on the diagonal.
void check_gram(WeightView gram, int64_t cols, const std::string& layer);

}  // namespace sage
