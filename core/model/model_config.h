// A model's config.json: sizes and switches every family needs, checked, plus the text itself for export.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sage {

// Rotary position embedding. Pair i of a head rotates by p * theta^(-2i/head_dim), changed by the scaling kind (rotary.h).
struct RotaryConfig {
  enum class Scaling { kDefault, kLinear, kLlama3 };
  double theta = 10000.0;
  Scaling scaling = Scaling::kDefault;
  double factor = 1.0;             // kLinear, kLlama3
  double low_freq_factor = 1.0;    // kLlama3
  double high_freq_factor = 4.0;   // kLlama3
  int64_t original_positions = 0;  // kLlama3: original_max_position_embeddings
};

struct ModelConfig {
  std::string path;        // of config.json, for messages
  std::string json;        // its text as read
  std::string model_type;  // "llama"; may be empty
  std::vector<std::string> architectures;

  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // heads % kv_heads == 0
  int64_t head_dim = 0;  // explicit, or hidden_size / heads
  int64_t vocab_size = 0;
  int64_t max_positions = 0;
  int64_t sliding_window = 0;      // 0 = none
  int64_t embedding_width = 0;     // word_embed_proj_dim, or hidden_size
  std::optional<double> norm_eps;  // absent: the family's default
  RotaryConfig rotary;
  bool attention_bias = false;
  bool mlp_bias = false;
  bool enable_bias = true;                  // enable_bias: all linear layers of a block
  bool norm_before = true;                  // do_layer_norm_before
  bool norm_affine = true;                  // layer_norm_elementwise_affine: layer norms have gains and shifts
  bool remove_final_norm = false;           // _remove_final_layer_norm
  std::optional<bool> tie_word_embeddings;  // absent: the family's default
  std::string activation;                   // "silu"; absent: the family's default
  std::string activation_key;               // its spelling: "hidden_act", "activation_function"
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
  std::string torch_dtype;          // "float16"; what an export says of itself
  std::string quantization_method;  // quantization_config.quant_method, "" for full precision
  std::vector<std::string> notes;   // where it says two things, which of them counts: for the log, once per directory

  int64_t query_width() const { return heads * head_dim; }
  int64_t kv_width() const { return kv_heads * head_dim; }
};

// A packed directory's config.json (packed_checkpoint.h) has a quantization_config of this method. It keeps these keys of the
// model's own under quantization_config.original, and has words for other programs in their place. Here they are what they were.
inline constexpr const char* kQuantMethod = "sage-ptq";
inline constexpr const char* kOriginalKey = "original";
inline constexpr const char* kOriginalKeys[] = {"model_type", "architectures", "torch_dtype", "dtype"};

// Both spellings of the rotary parameters are understood: rope_theta + rope_scaling (with "type" or "rope_type") and
// rope_parameters. Where a file has both, rope_scaling counts, as in transformers 5, and a note says so if they disagree. A
// value that is absent, of the wrong type, out of range or inconsistent is a ResourceError "PATH: KEY: found ...; expected ...".
// `path` names the text in messages.
ModelConfig parse_model_config(std::string_view json, const std::string& path);
// Reads DIR/config.json.
ModelConfig read_model_config(const std::string& folder);

}  // namespace sage
