#include "core/model/model_identity.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{64} << 20;

// Keys of tokenizer_config.json no token id depends on.
constexpr const char* kInertKeys[] = {"auto_map",
                                      "chat_template",
                                      "clean_up_tokenization_spaces",
                                      "max_length",
                                      "model_input_names",
                                      "model_max_length",
                                      "name_or_path",
                                      "pad_to_multiple_of",
                                      "padding_side",
                                      "processor_class",
                                      "spaces_between_special_tokens",
                                      "special_tokens_map_file",
                                      "stride",
                                      "tokenizer_file",
                                      "transformers_version",
                                      "truncation_side",
                                      "truncation_strategy",
                                      "_commit_hash"};

const char* name_of(MlpKind kind) {
  switch (kind) {
    case MlpKind::kSwiGlu: return "swiglu";
    case MlpKind::kRelu: return "relu";
    case MlpKind::kGelu: return "gelu";
  }
  return "";
}

std::string rotary_text(const RotaryConfig& rotary) {
  // Every member is named here, so that a new one does not compile until somebody says what it decides.
  const auto& [theta, scaling, factor, low, high, original_positions] = rotary;
  using enum RotaryConfig::Scaling;
  std::string text = fmt::format("rotary theta {}", theta);
  if (scaling == kLinear && factor != 1) text += fmt::format(" linear {}", factor);
  if (scaling == kLlama3) text += fmt::format(" llama3 {} {} {} {}", factor, low, high, original_positions);
  return text + "\n";
}

// Without layout, order of keys and keys that decide nothing. Text that is no JSON object stands for itself.
std::string without_inert_keys(const std::string& text) {
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return text;
  for (const char* key : kInertKeys)
    json.erase(key);
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

std::string forward_text(const Family& family, const ModelConfig& config) {
  // As above; those behind the comment decide no number by themselves: they are read through the functions of family.h, or
  // belong to other layers (token ids are in the keys that use them).
  const auto& [path, json, model_type, architectures, hidden_size, intermediate_size, layers, heads, kv_heads, head_dim,
               vocab_size, max_positions, sliding_window, embedding_width, eps, rotary, attention_bias, mlp_bias, enable_bias,
               norm_before, norm_affine, remove_final_norm, tie_word_embeddings, activation, activation_key, bos_token_id,
               eos_token_ids, torch_dtype, quantization_method, notes] = config;
  std::string text = fmt::format("forward {}\nfamily {}\n", kForwardVersion, family.name);
  text += fmt::format("hidden {} intermediate {} layers {} heads {} kv_heads {} head_dim {} vocabulary {} embedding {}\n",
                      hidden_size, intermediate_size, layers, heads, kv_heads, head_dim, vocab_size, embedding_width);
  text += fmt::format("norm {} eps {}{}{}\n", family.norm == NormKind::kRms ? "rms" : "layer", norm_eps(family, config),
                      family.norm == NormKind::kLayer && !norm_affine ? " plain" : "",
                      has_final_norm(family, config) ? " final" : "");
  text += fmt::format("mlp {}\n", name_of(mlp_kind(family, config)));
  if (family.positions == PositionKind::kRotary)
    text += rotary_text(rotary);
  else
    text += fmt::format("learned positions {} from row {}\n", max_positions, family.position_offset);
  if (family.sliding_window && sliding_window > 0) text += fmt::format("window {}\n", sliding_window);
  text += fmt::format("head {}\nbiases", tied_head(family, config) ? "tied" : "own");
  for (const LinearRow& row : family.linears)
    if (has_bias(row, config)) text += " " + row.tensor;
  return text + "\n";
}

std::string tokenizer_files_digest(const std::string& folder) {
  std::string text = "tokenizer files 1\n";
  const auto take = [&](const char* name, bool inert_keys) {
    const std::string path = (fs::path(folder) / name).string();
    std::error_code error;
    if (!fs::exists(path, error)) return false;
    std::string bytes = read_file(path, kMaxTokenizerBytes);
    if (inert_keys) bytes = without_inert_keys(bytes);
    if (!inert_keys || bytes != "{}") text += fmt::format("{} {}\n", name, sha256_hex(bytes));
    return true;
  };
  if (!take("tokenizer.json", false)) {
    take("vocab.json", false);
    take("merges.txt", false);
  }
  take("added_tokens.json", false);
  take("special_tokens_map.json", false);
  take("tokenizer_config.json", true);
  return sha256_hex(text);
}

std::string model_digest(const ModelConfig& config, const std::string& tensors, const std::string& folder,
                         const std::string& recipe) {
  return sha256_hex(fmt::format("model 2\n{}tensors {}\ntokenizer {}\n{}", forward_text(find_family(config), config), tensors,
                                tokenizer_files_digest(folder), recipe));
}

}  // namespace sage
