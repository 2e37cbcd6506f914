// The packed checkpoint: a Hugging Face style directory whose model.safetensors holds the planes of every quantized linear layer
// beside the tensors that were left alone, and whose config.json carries the recipe under "quantization_config".
//
//   OUT/model.safetensors   "model.layers.0.self_attn.q_proj.signs" (U8), ".binary_scales" (F16), ".header" (U8), ...
//   OUT/config.json         the model's own, plus quantization_config {quant_method: sage-ptq, format, pipeline, ...}, with
//                           words that make other programs stop in place of model_type (packed_config.h)
//   OUT/sage_report.json    what quantization measured (D, paper bits, seconds): not needed for decoding
//   OUT/tokenizer.json ...  copied
//
// A Python user opens the planes with the safetensors package; bit order and meaning are in docs/packed-format.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/model/checkpoint.h"
#include "core/model/family.h"
#include "core/pipeline/matrix_engine.h"

namespace sage {

inline constexpr int kPackedFormat = 1;

// One quantized matrix in the ledger.
struct MatrixReport {
  std::string name;
  int layer = 0;
  int64_t rows = 0;
  int64_t cols = 0;
  MatrixStorage storage;
  double relative_error = 0;  // D; NaN when the directory has no report
  double salient_ratio = 0;
  int64_t groups = 0;
  int alternative = 0;
  MatrixOutcome outcome;
  double seconds = 0;
};

// Of all processes that worked on a packed directory; work that a killed one did not finish is in none of them.
struct QuantizeSeconds {
  double quantize = 0;
  double calibrate = 0;   // forward passes and Grams
  bool resumed = false;   // a part was taken over from an earlier process
};

// The ledger of a packed file. Payload bytes by role + unquantized bytes + metadata bytes == file bytes, to the byte.
//
// Stored and paper bits are over the weights of all linear layers of the model: one that include and exclude left out counts with the
// bits it is stored in (16, or 32 for F32), in both, since no formula makes it cheaper than it is. D is over the quantized ones alone:
// the others have none.
struct PackedReport {
  std::vector<MatrixReport> matrices;
  uint64_t file_bytes = 0;
  uint64_t metadata_bytes = 0;     // safetensors length field and JSON header
  uint64_t unquantized_bytes = 0;  // embeddings, head, norms, biases, linear layers left out
  int64_t unquantized_weights = 0;
  int64_t left_out_matrices = 0;   // linear layers that were not quantized; their bytes and weights are in the two above, too
  uint64_t left_out_bytes = 0;
  int64_t left_out_weights = 0;
  QuantizeSeconds seconds;         // as the directory's report has them

  int64_t quantized_weights() const;
  int64_t linear_weights() const { return quantized_weights() + left_out_weights; }
  int64_t linear_matrices() const { return static_cast<int64_t>(matrices.size()) + left_out_matrices; }
  std::map<Role, uint64_t> roles() const;
  double stored_bits() const;         // bytes of the linear layers over their weights
  double paper_weight_bits() const;   // the formula, and left-out layers as stored, over the same weights
  double paper_scaling_bits() const;
  double paper_bits() const { return paper_weight_bits() + paper_scaling_bits(); }
  double whole_model_bits() const;    // file bytes over all weights, embeddings and head included
  double relative_error() const;      // sum ||W - What||^2 / sum ||W||^2 is not kept: weight-averaged D
};

// True if the directory's config.json says its weights are ours.
bool is_packed(const std::string& folder);

// Weights decoded from planes, matrix by matrix, on the way to whoever asks.
class PackedSource final : public WeightSource {
 public:
  PackedSource(const std::string& folder, const Registries& registries, const Backend& backend);

  const ModelConfig& config() const override { return config_; }
  const std::string& folder() const override { return folder_; }
  std::vector<std::string> names() const override;
  bool has(const std::string& name) const override;
  std::vector<int64_t> shape(const std::string& name) const override;
  Matrix load_linear(const std::string& name) const override;
  std::vector<float> load_vector(const std::string& name) const override;
  Matrix load_rows(const std::string& name, std::span<const int32_t> rows) const override;
  void release(const std::string& name) const override;
  // Of planes and recipe as well, with the versions that decode them.
  std::string digest() const override;

  const PipelineFactory& recipe() const { return *factory_; }
  const TensorFiles& tensor_files() const { return files_; }
  const std::map<std::string, LinearSite>& sites() const { return sites_; }  // the quantized ones
  // What a quantized matrix was stored as before. Of directories that do not say, what most of the other tensors are.
  DType source_dtype(const std::string& name) const;
  QuantizedMatrix planes(const std::string& name) const;
  // The ledger, counted from the file itself; D and paper bits from sage_report.json.
  PackedReport report() const;

 private:
  std::string folder_;
  ModelConfig config_;
  TensorFiles files_;
  const Backend& backend_;
  std::unique_ptr<PipelineFactory> factory_;
  std::map<std::string, LinearSite> sites_;
  std::map<std::string, std::vector<const TensorInfo*>> planes_;
  LazyDigest digest_;
  std::map<std::string, DType> source_dtypes_;  // of the quantized ones
};

// Opens a full-precision or a packed directory, whichever it is.
std::unique_ptr<WeightSource> open_model(const std::string& folder, const Registries& registries, const Backend& backend);

}  // namespace sage
