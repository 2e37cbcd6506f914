// Synthetic checkpoints of real models' shapes, for measuring speed and memory where the real weights are not at hand.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/safetensors.h"

namespace sage {

struct SyntheticShape {
  std::string name;
  int64_t hidden = 0, intermediate = 0, layers = 0, heads = 0, kv_heads = 0, vocabulary = 0;
  double rope_theta = 10000;
  std::string family = "llama";    // or "opt"
  int64_t embedding_width = 0;     // opt; 0 = hidden
  bool norm_before = true;         // opt
  std::string activation = "relu";  // opt
};
const std::vector<SyntheticShape>& synthetic_shapes();
const SyntheticShape& find_synthetic_shape(const std::string& name);  // UserError with the nearest name

// Writes config.json and one model.safetensors of `dtype` (F16 or F32) below `folder`, streamed: memory stays at a few MiB.
// Weights and biases are normal with standard deviation 0.02, gains of norms are 1. layers = 0 keeps the shape's own number.
// Returns the bytes written.
uint64_t write_synthetic_checkpoint(const SyntheticShape& shape, const std::string& folder, int64_t layers, DType dtype, uint64_t seed);

}  // namespace sage
