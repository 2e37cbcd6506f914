// Where a model's weights come from: a full-precision checkpoint, or planes that are decoded on the way. The forward pass and
// the pipeline know only this.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model/model_config.h"
#include "core/tensor/view.h"

namespace sage {

// Tensors have their full Hugging Face names ("model.layers.3.self_attn.q_proj.weight"). All loads give exactly widened (or
// decoded) FP32; a missing tensor is a ResourceError that proposes the nearest name, NaN or infinity one that names the place.
// Loading is safe from several threads at once.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual const ModelConfig& config() const = 0;
  virtual const std::string& folder() const = 0;
  virtual std::vector<std::string> names() const = 0;  // sorted
  virtual bool has(const std::string& name) const = 0;
  virtual std::vector<int64_t> shape(const std::string& name) const = 0;

  virtual Matrix load_linear(const std::string& name) const = 0;  // rows = outputs, cols = inputs
  virtual std::vector<float> load_vector(const std::string& name) const = 0;
  // Row k of the result is row rows[k] of the tensor (embedding lookup without widening the whole table).
  virtual Matrix load_rows(const std::string& name, std::span<const int32_t> rows) const = 0;
  // The caller is done with this tensor's bytes for now: a memory map lets its pages go.
  virtual void release(const std::string& name) const = 0;

  // The model's identity, as 64 hex digits (model_identity.h): what the forward pass reads of config.json, all tensors, the
  // tokenizer; whatever its path or sharding. May read the whole checkpoint once.
  virtual std::string digest() const = 0;
};

// Opens a Hugging Face directory: config.json and model.safetensors, or the shards listed in model.safetensors.index.json.
// ResourceError for anything missing or broken, and for directories that hold quantized weights (quantization_config).
std::unique_ptr<WeightSource> open_checkpoint(const std::string& folder);

}  // namespace sage
