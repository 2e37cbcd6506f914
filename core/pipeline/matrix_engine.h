// Quantizes one matrix with a pipeline and decodes it again.
//
// Steps for W (rows x cols):
//   1  transform: W' = T(W); its parameters are stored
//   2  with calibration: the damped Hessian of the inputs of W' is factored; dead columns are zeroed; columns get their order
//   3  for each segment of columns (segments.h), before coding or when coding reaches it:
//        saliency scores -> threshold search (trials: mask, groups, fits, no coding) -> mask of salient weights
//        grouping of the others -> fits of both quantizers
//   4  codes, column by column or block by block; the compensator moves the error into columns still to be coded
//   5  planes -> coders -> bytes
//   6  What = T^-1(decoded); D = ||W - What||^2 / ||W||^2
//
// decode_matrix sees the stored planes and the recipe only, and returns the same What bit for bit.
#pragma once

#include <map>
#include <string>

#include "core/pipeline/layer_hessian.h"
#include "core/pipeline/matrix_outcome.h"
#include "core/pipeline/pipeline.h"
#include "core/strategy/context.h"

namespace sage {

// What the ledger knows of one matrix. Bytes are payload bytes of the file, by role.
struct MatrixStorage {
  int64_t weights = 0;
  std::map<Role, uint64_t> bytes;
  double paper_weight_bits = 0;   // per weight
  double paper_scaling_bits = 0;  // per weight
  double paper_bits() const { return paper_weight_bits + paper_scaling_bits; }
  uint64_t total_bytes() const;
  double stored_bits() const { return weights == 0 ? 0 : 8.0 * static_cast<double>(total_bytes()) / static_cast<double>(weights); }
};

struct MatrixResult {
  QuantizedMatrix packed;
  Matrix dequantized;          // What, as the decoder returns it
  MatrixStorage storage;
  double relative_error = 0;   // D
  double salient_ratio = 0;
  int64_t groups = 0;          // largest over the segments
  int alternative = 0;
  MatrixOutcome outcome;
  double seconds = 0;
};

struct MatrixJob {
  WeightView weights;
  MatrixId id;
  uint64_t seed = 0;
  const LayerHessian* hessian = nullptr;  // of the layer's inputs; needed by pipelines that calibrate, and for gram_loss
  Trace* trace = nullptr;  // may be null
};

// Throws RunError naming the matrix if weights are not finite, the Gram is missing or cannot be factored, or a component fails.
MatrixResult quantize_matrix(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend);

// Rebuilds What from stored planes. ResourceError naming the matrix and plane if they are damaged.
Matrix decode_matrix(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name, const Backend& backend);

// Bytes by role of stored planes (the header names each plane's role).
std::map<Role, uint64_t> storage_by_role(const QuantizedMatrix& packed);

// 0.5 log2(1/D): bits a Gaussian source needs at distortion D. bits - this = the rate audit's excess.
double gaussian_rate(double relative_error);

}  // namespace sage
