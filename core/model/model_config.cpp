#include "core/model/model_config.h"

#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>

#include "core/model/json_text.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {

namespace {

using Json = nlohmann::json;

// Typed, range-checked access to one JSON object. `prefix` names nested objects ("rope_scaling.").
class Fields {
 public:
  Fields(const Json& json, const std::string& path, std::string prefix = "")
      : json_(json), path_(path), prefix_(std::move(prefix)) {}

  // First of the spellings that is present and not null.
  const Json* find(std::initializer_list<const char*> names) const {
    for (const char* n : names) {
      const auto it = json_.find(n);
      if (it != json_.end() && !it->is_null()) return &*it;
    }
    return nullptr;
  }
  int64_t integer(std::initializer_list<const char*> names, int64_t low, int64_t high,
                  std::optional<int64_t> otherwise = {}) const {
    const Json* v = find(names);
    const std::string expected = fmt::format("an integer in {} .. {}", low, high);
    if (v == nullptr) return otherwise ? *otherwise : missing(*names.begin(), expected);
    if (!v->is_number_integer()) fail(*names.begin(), json_excerpt(*v), expected);
    // Unsigned values above 2^63 would turn negative, which the lower limit rejects as well; say what was really there.
    if (v->is_number_unsigned() ? v->get<uint64_t>() > static_cast<uint64_t>(high) || v->get<int64_t>() < low
                                : v->get<int64_t>() < low || v->get<int64_t>() > high)
      fail(*names.begin(), json_excerpt(*v), expected);
    return v->get<int64_t>();
  }
  double number(std::initializer_list<const char*> names, double low, double high, std::optional<double> otherwise = {}) const {
    const Json* v = find(names);
    const std::string expected = fmt::format("a number in {} .. {}", low, high);
    if (v == nullptr) {
      if (otherwise) return *otherwise;
      missing(*names.begin(), expected);
    }
    if (!v->is_number() || !(v->get<double>() >= low && v->get<double>() <= high))
      fail(*names.begin(), json_excerpt(*v), expected);
    return v->get<double>();
  }
  bool flag(const char* name, bool otherwise) const {
    const Json* v = find({name});
    if (v == nullptr) return otherwise;
    if (!v->is_boolean()) fail(name, json_excerpt(*v), "true or false");
    return v->get<bool>();
  }
  std::string text(std::initializer_list<const char*> names, const std::string& otherwise) const {
    const Json* v = find(names);
    if (v == nullptr) return otherwise;
    if (!v->is_string()) fail(*names.begin(), json_excerpt(*v), "a text");
    return v->get<std::string>();
  }
  [[noreturn]] void fail(const std::string& name, const std::string& found, const std::string& expected) const {
    throw ResourceError("{}: {}{}: found {}; expected {}; check the model's configuration", path_, prefix_, name, found,
                        expected);
  }
  [[noreturn]] int64_t missing(const std::string& name, const std::string& expected) const {
    throw ResourceError("{}: {}{} is missing; expected {}; check the model's configuration", path_, prefix_, name, expected);
  }

 private:
  const Json& json_;
  const std::string& path_;
  std::string prefix_;
};

// Largest sizes taken seriously: far above any model, small enough that their products stay exact.
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

bool same_angles(const RotaryConfig& a, const RotaryConfig& b) {
  if (a.theta != b.theta || a.scaling != b.scaling) return false;
  if (a.scaling == RotaryConfig::Scaling::kDefault) return true;
  return a.factor == b.factor && (a.scaling == RotaryConfig::Scaling::kLinear ||
                                  (a.low_freq_factor == b.low_freq_factor && a.high_freq_factor == b.high_freq_factor &&
                                   a.original_positions == b.original_positions));
}

std::string rotary_text(const RotaryConfig& r) {
  const char* kind = r.scaling == RotaryConfig::Scaling::kDefault  ? "default"
                     : r.scaling == RotaryConfig::Scaling::kLinear ? "linear"
                                                                   : "llama3";
  return r.scaling == RotaryConfig::Scaling::kDefault ? fmt::format("{}, theta {:g}", kind, r.theta)
                                                      : fmt::format("{}, theta {:g}, factor {:g}", kind, r.theta, r.factor);
}

// One of the two objects. `theta` is what the top level says, or the default.
RotaryConfig read_rotary_object(const Fields& top, const std::string& path, const char* spelling, const Json& block, double theta,
                                std::vector<std::string>& notes) {
  RotaryConfig r;
  if (!block.is_object()) top.fail(spelling, json_excerpt(block), "an object or null");
  const Fields f(block, path, std::string(spelling) + ".");
  r.theta = f.number({"rope_theta"}, 1e-3, 1e12, theta);
  const std::string kind = f.text({"rope_type", "type"}, "");
  if (const std::string old = f.text({"type"}, kind); old != kind)
    notes.push_back(fmt::format("{}: {}.rope_type is '{}' and {}.type is '{}': rope_type counts, as in transformers", path, spelling, kind,
                                spelling, old));
  if (kind.empty()) {
    // Without a kind, only a bare {rope_theta} is clear; per-layer tables ("full_attention": {...}) are another family's
    // business.
    for (const auto& [key, value] : block.items())
      if (key != "rope_theta" && !value.is_null())
        f.fail("rope_type", "no kind but '" + key + "'", "default, linear or llama3");
    return r;
  }
  if (f.number({"partial_rotary_factor"}, 0, 1, 1.0) != 1.0)
    f.fail("partial_rotary_factor", "a part of the head", "1 (the whole head)");
  if (kind == "default") return r;
  if (kind != "linear" && kind != "llama3") f.fail("rope_type", "'" + kind + "'", "default, linear or llama3");
  r.scaling = kind == "linear" ? RotaryConfig::Scaling::kLinear : RotaryConfig::Scaling::kLlama3;
  r.factor = f.number({"factor"}, 1, 1e6);
  if (kind == "llama3") {
    r.low_freq_factor = f.number({"low_freq_factor"}, 1e-6, 1e6);
    r.high_freq_factor = f.number({"high_freq_factor"}, 1e-6, 1e6);
    if (r.high_freq_factor <= r.low_freq_factor)
      f.fail("high_freq_factor", fmt::format("{}", r.high_freq_factor),
             fmt::format("more than low_freq_factor = {}", r.low_freq_factor));
    r.original_positions = f.integer({"original_max_position_embeddings"}, 1, kMaxPositions);
  }
  return r;
}

// transformers 5 (RotaryEmbeddingConfigMixin): rope_scaling in place of rope_parameters where it is there and not empty; inside
// the object that counts its own rope_theta, else the top level's, else the default. Both objects are read, so that a kind that
// is not supported is refused wherever it stands.
RotaryConfig read_rotary(const Fields& top, const std::string& path, std::vector<std::string>& notes) {
  RotaryConfig bare;
  const Json* top_theta = top.find({"rope_theta"});
  bare.theta = top.number({"rope_theta"}, 1e-3, 1e12, bare.theta);
  const auto there = [&](const char* name) {
    const Json* block = top.find({name});
    return block != nullptr && !(block->is_object() && block->empty()) ? block : nullptr;
  };
  const Json* scaling = there("rope_scaling");
  const Json* parameters = there("rope_parameters");
  if (scaling == nullptr && parameters == nullptr) return bare;
  const char* spelling = scaling != nullptr ? "rope_scaling" : "rope_parameters";
  const RotaryConfig r = read_rotary_object(top, path, spelling, scaling != nullptr ? *scaling : *parameters, bare.theta, notes);
  if (top_theta != nullptr && bare.theta != r.theta)
    notes.push_back(fmt::format("{}: rope_theta is {:g} and {}.rope_theta is {:g}: the latter counts, as in transformers 5", path, bare.theta,
                                spelling, r.theta));
  if (scaling != nullptr && parameters != nullptr) {
    const RotaryConfig other = read_rotary_object(top, path, "rope_parameters", *parameters, bare.theta, notes);
    if (!same_angles(r, other))
      notes.push_back(fmt::format("{}: rope_scaling ({}) and rope_parameters ({}) disagree: rope_scaling counts, as in transformers 5; leave one "
                                  "of them out",
                                  path, rotary_text(r), rotary_text(other)));
  }
  return r;
}

// What a packed directory says of the model it was made of, put back where the rest looks for it.
Json original_config(Json json, const std::string& path) {
  const auto q = json.find("quantization_config");
  if (q == json.end() || !q->is_object() || q->find("quant_method") == q->end() || q->at("quant_method") != kQuantMethod) return json;
  const auto original = q->find(kOriginalKey);
  if (original == q->end()) return json;
  if (!original->is_object())
    throw ResourceError("{}: quantization_config.{}: found {}; expected an object; the packed directory is damaged", path, kOriginalKey,
                        json_excerpt(*original));
  const Json values = *original;
  for (const char* key : kOriginalKeys) {
    json.erase(key);
    if (const auto v = values.find(key); v != values.end()) json[key] = *v;
  }
  return json;
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, const std::string& path) {
  const Json json = original_config(parse_json_object(text, path), path);
  const Fields f(json, path);
  ModelConfig c;
  c.path = path;
  c.json = std::string(text);
  c.model_type = f.text({"model_type"}, "");
  if (const Json* a = f.find({"architectures"})) {
    if (!a->is_array()) f.fail("architectures", json_excerpt(*a), "a list of texts");
    for (const Json& name : *a) {
      if (!name.is_string()) f.fail("architectures", json_excerpt(name), "a list of texts");
      c.architectures.push_back(name.get<std::string>());
    }
  }
  c.hidden_size = f.integer({"hidden_size"}, 1, kMaxWidth);
  c.intermediate_size = f.integer({"intermediate_size", "ffn_dim"}, 1, 4 * kMaxWidth);
  c.layers = f.integer({"num_hidden_layers"}, 1, 100000);
  c.heads = f.integer({"num_attention_heads"}, 1, 65536);
  c.kv_heads = f.integer({"num_key_value_heads"}, 1, 65536, c.heads);
  if (c.heads % c.kv_heads != 0)
    f.fail("num_key_value_heads", fmt::format("{}", c.kv_heads), fmt::format("a divisor of num_attention_heads = {}", c.heads));
  if (f.find({"head_dim"}) != nullptr) {
    c.head_dim = f.integer({"head_dim"}, 1, 65536);
  } else {
    if (c.hidden_size % c.heads != 0)
      f.fail("num_attention_heads", fmt::format("{}", c.heads),
             fmt::format("a divisor of hidden_size = {}, or an explicit head_dim", c.hidden_size));
    c.head_dim = c.hidden_size / c.heads;
  }
  if (c.query_width() > 4 * kMaxWidth)
    f.fail("head_dim", fmt::format("{} for {} heads", c.head_dim, c.heads), fmt::format("at most {} in all", 4 * kMaxWidth));
  c.vocab_size = f.integer({"vocab_size"}, 1, kMaxVocabulary);
  c.max_positions = f.integer({"max_position_embeddings"}, 1, kMaxPositions, 2048);
  c.sliding_window = f.flag("use_sliding_window", true) ? f.integer({"sliding_window"}, 0, kMaxPositions, 0) : 0;
  c.embedding_width = f.integer({"word_embed_proj_dim"}, 1, kMaxWidth, c.hidden_size);
  for (const char* key : {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"})
    if (!c.norm_eps && f.find({key}) != nullptr) c.norm_eps = f.number({key}, 0, 1);
  c.rotary = read_rotary(f, path, c.notes);
  if (f.number({"partial_rotary_factor"}, 0, 1, 1.0) != 1.0)
    f.fail("partial_rotary_factor", "a part of the head", "1 (the whole head)");
  c.attention_bias = f.flag("attention_bias", false);
  c.mlp_bias = f.flag("mlp_bias", false);
  c.enable_bias = f.flag("enable_bias", true);
  c.norm_before = f.flag("do_layer_norm_before", true);
  c.norm_affine = f.flag("layer_norm_elementwise_affine", true);
  c.remove_final_norm = f.flag("_remove_final_layer_norm", false);
  if (f.find({"tie_word_embeddings"}) != nullptr) c.tie_word_embeddings = f.flag("tie_word_embeddings", false);
  for (const char* key : {"hidden_act", "hidden_activation", "activation_function"}) {
    if (!c.activation_key.empty() || f.find({key}) == nullptr) continue;
    c.activation_key = key;
    c.activation = f.text({key}, "");
  }
  constexpr int64_t kMaxId = kMaxVocabulary;
  if (f.find({"bos_token_id"}) != nullptr) c.bos_token_id = f.integer({"bos_token_id"}, -1, kMaxId);
  if (const Json* eos = f.find({"eos_token_id"})) {
    const Json list = eos->is_array() ? *eos : Json::array({*eos});
    for (const Json& id : list) {
      if (!id.is_number_integer()) f.fail("eos_token_id", json_excerpt(*eos), "an integer or a list of integers");
      c.eos_token_ids.push_back(id.get<int64_t>());
    }
  }
  c.torch_dtype = f.text({"torch_dtype", "dtype"}, "");
  if (const Json* q = f.find({"quantization_config"})) {
    if (!q->is_object()) f.fail("quantization_config", json_excerpt(*q), "an object");
    c.quantization_method = Fields(*q, path, "quantization_config.").text({"quant_method"}, "unnamed");
  }
  return c;
}

ModelConfig read_model_config(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(folder, error))
    throw ResourceError("{}: no such folder; expected a Hugging Face model directory with config.json and safetensors files",
                        folder);
  const std::string path = (fs::path(folder) / "config.json").string();
  if (!fs::exists(path, error))
    throw ResourceError("{}: not found; expected a Hugging Face model directory with config.json and safetensors files", path);
  return parse_model_config(read_file(path, kMaxConfigBytes), path);
}

}  // namespace sage
