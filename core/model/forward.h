// The FP32 forward pass of a decoder, block by block, on any backend. One block's weights are in memory at a time; what stays
// between blocks is the residual stream, tokens x hidden_size.
//
//   const Family& family = find_family(source.config());
//   check_tensors(family, source);
//   const Matrix embedded = embed(family, source, ids, sequence_length, backend);  // ids: whole sequences one after another
//   BackendMatrix hidden(backend, embedded.rows(), embedded.cols());
//   copy(backend, embedded.view(), hidden.view());
//   Workspace workspace(backend);
//   BlockStream blocks(family, source, backend);  // block_stream.h
//   for (int i = 0; i < source.config().layers; ++i)
//     forward_block(family, source.config(), blocks.next(), hidden.view(), sequence_length, backend, workspace);
//   const WeightView states = finish(family, source.config(), load_final(family, source), hidden.view(), backend, workspace);
//   backend.head_nll(states, load_head(family, source).view(), ...);
//
// Hidden states may be host memory or the backend's, weights may be held or not (core/backend/memory.h): that decides how much
// is copied to a device, never results.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/backend/memory.h"
#include "core/model/family.h"
#include "core/model/rotary.h"
#include "core/model/weight_source.h"

namespace sage {

struct BlockWeights {
  int layer = 0;
  std::array<Matrix, kLinearRoles> linear;            // by LinearRole; 0 x 0 where the family has none
  std::array<std::vector<float>, kLinearRoles> bias;  // empty = none
  std::array<std::vector<float>, kNormPlaces> norm;   // gains by NormPlace; empty = none
  std::array<std::vector<float>, kNormPlaces> shift;  // NormKind::kLayer

  Matrix& weight(LinearRole role) { return linear[static_cast<size_t>(role)]; }
  const Matrix& weight(LinearRole role) const { return linear[static_cast<size_t>(role)]; }
};

// Buffers that survive from block to block, in the backend's memory. One per thread that runs forward_block.
class Workspace {
 public:
  explicit Workspace(const Backend& backend) : backend_(backend) {}
  // An uninitialised rows x cols view; the previous view of the same slot ends.
  View<float> take(int slot, int64_t rows, int64_t cols);

 private:
  const Backend& backend_;
  std::vector<BackendMatrix> slots_;
};

// Sees the input of each group of linears ("qkv", "o", "gate_up" or "up", "down") before it is used: tokens x cols, in the
// backend's memory. For calibration.
using InputObserver = std::function<void(const std::string& group, WeightView input)>;

// The stream before the first block, tokens x hidden_size. With the tensors the family has:
//   hidden[t] = project_in embedding[ids[t]] + position_table[t mod sequence_length + position_offset]
// UserError if the family has no embedding for the last position of a sequence. ResourceError for an id outside the vocabulary
// (text and model do not belong together).
Matrix embed(const Family& family, const WeightSource& source, std::span<const int32_t> ids, int64_t sequence_length,
             const Backend& backend);

BlockWeights load_block(const Family& family, const WeightSource& source, int layer);
// Holds all weights of the block; they must not change, nor go, before what this returns does.
std::vector<HeldMemory> hold(const Backend& backend, const BlockWeights& block);

// Throws, before anything is read or computed, what forward_block would throw because this backend cannot run this model.
void check_forward(const Family& family, const ModelConfig& config, const Backend& backend);

// hidden += attention(norm(hidden)); hidden += mlp(norm(hidden)), in place; a family's norms may sit on the stream after each
// sum instead. hidden holds whole sequences of sequence_length
// rows one after another (hidden.rows is a multiple of it), each starting at position 0.
void forward_block(const Family& family, const ModelConfig& config, const BlockWeights& block, View<float> hidden,
                   int64_t sequence_length, const Backend& backend, Workspace& workspace, const InputObserver& observe = {});

// What stands between the last block and the head.
struct FinalWeights {
  std::vector<float> gain, shift;  // of the final norm; empty = none
  Matrix project;                  // embedding_width x hidden_size; 0 x 0 = none
};
FinalWeights load_final(const Family& family, const WeightSource& source);
std::vector<HeldMemory> hold(const Backend& backend, const FinalWeights& final_weights);
// The states the head reads, tokens x embedding_width: project_out norm(hidden), with the parts there are. The norm works in
// place; the view is hidden itself or a slot of the workspace, valid until that is used again.
WeightView finish(const Family& family, const ModelConfig& config, const FinalWeights& final_weights, View<float> hidden,
                  const Backend& backend, Workspace& workspace);

// vocab x embedding_width: the head, or the embedding when tied.
Matrix load_head(const Family& family, const WeightSource& source);

// Device memory a pass over the blocks takes beside the hidden states: the workspace, and the weights of two blocks (one works,
// one is on its way), in FP32 and in the 16 bits that products may read.
uint64_t pass_memory_bytes(const Family& family, const ModelConfig& config, int64_t sequence_length);

}  // namespace sage
