// The FP32 forward pass of a decoder, block by block, on any backend. One block's weights are in memory at a time; what stays
// between blocks is the residual stream, tokens x hidden_size.
//
//   const Family& family = find_family(source.config());
//   check_tensors(family, source);
//   Matrix hidden = embed(family, source, ids);                      // ids: whole sequences one after another
//   for (int i = 0; i < source.config().layers; ++i)
//     forward_block(family, source.config(), load_block(family, source, i), hidden.view(), sequence_length, backend,
//     workspace);
//   apply_final_norm(family, source.config(), load_final_norm(family, source), hidden.view(), backend);
//   backend.head_nll(hidden.view(), load_head(family, source).view(), ...);
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "core/model/family.h"
#include "core/model/rotary.h"
#include "core/model/weight_source.h"

namespace sage {

struct BlockWeights {
  int layer = 0;
  std::array<Matrix, kLinearRoles> linear;            // by LinearRole; 0 x 0 where the family has none
  std::array<std::vector<float>, kLinearRoles> bias;  // empty = none
  std::array<std::vector<float>, kNormPlaces> norm;   // by NormPlace; empty = none

  Matrix& weight(LinearRole role) { return linear[static_cast<size_t>(role)]; }
  const Matrix& weight(LinearRole role) const { return linear[static_cast<size_t>(role)]; }
};

// Buffers that survive from block to block. One per thread that runs forward_block.
class Workspace {
 public:
  // An uninitialised rows x cols view; the previous view of the same slot ends.
  View<float> take(int slot, int64_t rows, int64_t cols);

 private:
  std::vector<Matrix> slots_;
};

// Sees the input of each group of linears ("qkv", "o", "gate_up", "down") before it is used: tokens x cols. For calibration.
using InputObserver = std::function<void(const std::string& group, WeightView input)>;

// hidden[t] = embedding[ids[t]]. An id outside the vocabulary is a ResourceError (text and model do not belong together).
Matrix embed(const Family& family, const WeightSource& source, std::span<const int32_t> ids);

BlockWeights load_block(const Family& family, const WeightSource& source, int layer);

// hidden += attention(norm(hidden)); hidden += mlp(norm(hidden)), in place. hidden holds whole sequences of sequence_length
// rows one after another (hidden.rows is a multiple of it), each starting at position 0.
void forward_block(const Family& family, const ModelConfig& config, const BlockWeights& block, View<float> hidden,
                   int64_t sequence_length, const Backend& backend, Workspace& workspace, const InputObserver& observe = {});

std::vector<float> load_final_norm(const Family& family, const WeightSource& source);
void apply_final_norm(const Family& family, const ModelConfig& config, std::span<const float> gain, View<float> hidden,
                      const Backend& backend);

// vocab x hidden: the head, or the embedding when tied.
Matrix load_head(const Family& family, const WeightSource& source);

}  // namespace sage
