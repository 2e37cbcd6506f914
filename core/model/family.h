// Model families as tables: which tensors a decoder block has, how they are called, what shape they have and how they are put
// together. A family is recognised by config.json alone, never by a path.
//
// A new family is one file, family_NAME.cpp, that fills a Family, and one line in family.cpp. Where a switch of config.json
// moves whole parts of the block, each setting is a Family of its own (OPT with norms before and after).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/model/model_config.h"
#include "core/model/weight_source.h"

namespace sage {

// The linear layers a decoder block can have. Without a gate, kUp and kDown are the two layers of a plain MLP.
enum class LinearRole { kQuery, kKey, kValue, kOutput, kGate, kUp, kDown };
inline constexpr int kLinearRoles = 7;

// Where a norm sits. kBefore...: on a branch's input. kAfter...: on the stream, once the branch was added to it. kQuery, kKey:
// on each head, before the rotary embedding.
enum class NormPlace { kBeforeAttention, kBeforeMlp, kAfterAttention, kAfterMlp, kQuery, kKey };
inline constexpr int kNormPlaces = 6;

enum class NormKind {
  kRms,    // x / rms(x) * gain; tensor ".weight"
  kLayer,  // (x - mean) / sqrt(variance) * gain + shift; tensors ".weight" and ".bias", none if the config has no norm_affine
};
enum class MlpKind {
  kSwiGlu,  // down(silu(gate x) * up x)
  kRelu,    // down(relu(up x))
  kGelu,    // down(gelu(up x))
};
enum class PositionKind {
  kRotary,   // queries and keys turn
  kLearned,  // a row of a table is added to the embedding
};
enum class Extent { kHidden, kQueryWidth, kKvWidth, kIntermediate };             // a size taken from the config
enum class BiasRule { kNever, kAlways, kAttentionBias, kMlpBias, kEnableBias };  // the last three follow the config's switches

// {i} in a tensor name is the layer number.
struct LinearRow {
  LinearRole role;
  std::string tensor;  // without ".weight" / ".bias": "model.layers.{i}.self_attn.q_proj"
  Extent rows;
  Extent cols;
  BiasRule bias = BiasRule::kNever;
  std::string group;  // linears of one block with the same group read the same input: "qkv", "o", "gate_up" or "up", "down"
};
struct NormRow {
  NormPlace place;
  std::string tensor;  // without ".weight" / ".bias": "model.layers.{i}.input_layernorm"
};

// What a spelling of config.json's activation means.
struct Activation {
  std::string name;
  MlpKind mlp;
};

struct Family {
  std::string name;                        // "llama"
  std::vector<std::string> model_types;    // values of config.json's model_type
  std::vector<std::string> architectures;  // looked at when model_type is absent
  std::optional<bool> norm_before;         // only configs whose norm_before says so; absent: the switch is not looked at
  std::string embedding;                   // full tensor names
  std::string position_table;              // kLearned
  std::string project_in, project_out;     // embedding <-> stream where config.embedding_width differs; "" = must not differ
  std::string final_norm;                  // without ".weight" / ".bias"; "" = none
  std::string head;
  bool tied_by_default = false;  // when config.json does not say
  bool sliding_window = false;   // config.sliding_window limits attention
  PositionKind positions = PositionKind::kRotary;
  int64_t position_offset = 0;  // kLearned: position p is row p + position_offset
  NormKind norm = NormKind::kRms;
  double norm_eps = 1e-6;               // when config.json does not say
  std::vector<Activation> activations;  // the first also when config.json does not say
  std::vector<LinearRow> linears;       // in the order of the computation
  std::vector<NormRow> norms;
};

// One linear layer of a concrete model: what quantization works on.
struct LinearSite {
  int layer = 0;
  LinearRole role = LinearRole::kQuery;
  std::string name;  // "model.layers.3.self_attn.q_proj.weight"
  int64_t rows = 0;
  int64_t cols = 0;
  std::string group;  // sites of one layer with the same group share their input
};

const std::vector<Family>& families();
// nullptr if none fits.
const Family* recognised_family(const ModelConfig& config);
// ResourceError listing the known families if none fits, or if the config asks for what the family does not do.
const Family& find_family(const ModelConfig& config);

bool tied_head(const Family& family, const ModelConfig& config);
// The activation must be one of the family's, as find_family checks.
MlpKind mlp_kind(const Family& family, const ModelConfig& config);
// The tensor the logits are computed with: the head, or the embedding when tied.
const std::string& head_tensor(const Family& family, const ModelConfig& config);
bool has_bias(const LinearRow& row, const ModelConfig& config);
bool has_final_norm(const Family& family, const ModelConfig& config);
bool has_projections(const ModelConfig& config);  // the embedding has another width than the stream
double norm_eps(const Family& family, const ModelConfig& config);
// UserError if the family has no embedding for the last of `length` positions. Rotary families take any length.
void check_sequence_length(const Family& family, const ModelConfig& config, int64_t length);
int64_t extent(Extent e, const ModelConfig& config);
int64_t norm_width(NormPlace place, const ModelConfig& config);
std::string tensor_name(const std::string& pattern, int64_t layer,
                        const char* suffix);  // fills {i}, appends ".weight" or ".bias"

// All quantizable linears of the model, layer by layer in the order of the computation.
std::vector<LinearSite> linear_sites(const Family& family, const ModelConfig& config);

// One tensor the model needs, with the shape the config implies.
struct ExpectedTensor {
  std::string name;
  std::vector<int64_t> shape;
};
std::vector<ExpectedTensor> expected_tensors(const Family& family, const ModelConfig& config);
// Everything needed is there in the right shape, before anything is computed. ResourceError "tensor: found ...; expected ...".
void check_tensors(const Family& family, const WeightSource& source);

// Tensors the source has and a model of this config.json does not read: biases a switch denies, layers beyond the last, a head
// beside a tied embedding. Buffers that released checkpoints carry along and nothing reads (rotary frequencies) are not listed.
std::vector<std::string> unread_tensors(const Family& family, const WeightSource& source);
// One line of log, once per folder, with their number and first names. strict: ResourceError instead.
void report_unread_tensors(const Family& family, const WeightSource& source, bool strict);

// Families shipped here.
Family llama_family();
Family opt_family();
Family opt_post_norm_family();

}  // namespace sage
