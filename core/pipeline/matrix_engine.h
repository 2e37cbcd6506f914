// Quantizes one matrix with a pipeline and decodes it again.
//
// Steps for W (rows x cols):
//   1  transform: W' = T(W); its parameters are stored
//   2  for each block of columns (one block = the whole matrix unless block_columns is set):
//        saliency scores -> threshold search (trials: mask, groups, fits, no coding) -> mask of salient weights
//        grouping of the others -> fits of both quantizers -> codes, column by column if the compensator asks for it
//        the compensator moves the error into columns still to be coded
//   3  planes -> coders -> bytes
//   4  What = T^-1(decoded); D = ||W - What||^2 / ||W||^2
//
// decode_matrix sees the stored planes and the recipe only, and returns the same What bit for bit.
#pragma once

#include <map>
#include <string>

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
  int64_t groups = 0;          // largest over the blocks
  int alternative = 0;
  double seconds = 0;
};

struct MatrixJob {
  WeightView weights;
  MatrixId id;
  uint64_t seed = 0;
  const CalibrationStats* stats = nullptr;
  Trace* trace = nullptr;  // may be null
};

// Throws RunError naming the matrix if weights are not finite or a component fails.
MatrixResult quantize_matrix(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend);

// Rebuilds What from stored planes. ResourceError naming the matrix and plane if they are damaged.
Matrix decode_matrix(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name, const Backend& backend);

// Bytes by role of stored planes (the header names each plane's role).
std::map<Role, uint64_t> storage_by_role(const QuantizedMatrix& packed);

// 0.5 log2(1/D): bits a Gaussian source needs at distortion D. bits - this = the rate audit's excess.
double gaussian_rate(double relative_error);

}  // namespace sage
