#include "core/model/family.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/config/value.h"
#include "core/util/errors.h"

namespace sage {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool recognises(const Family& family, const ModelConfig& config) {
  if (!config.model_type.empty()) return contains(family.model_types, config.model_type);
  return std::any_of(config.architectures.begin(), config.architectures.end(),
                     [&](const std::string& a) { return contains(family.architectures, a); });
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t norm_width(NormPlace place, const ModelConfig& config) {
  return place == NormPlace::kQuery || place == NormPlace::kKey ? config.head_dim : config.hidden_size;
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {llama_family()};
  return all;
}

const Family& find_family(const ModelConfig& config) {
  for (const Family& f : families()) {
    if (!recognises(f, config)) continue;
    if (!contains(f.activations, config.activation))
      throw ResourceError("{}: hidden_act: found '{}'; expected {} for the {} family", config.path, config.activation,
                          fmt::join(f.activations, " or "), f.name);
    if (config.head_dim % 2 != 0)
      throw ResourceError("{}: head_dim: found {}; expected an even number, since rotary embeddings turn pairs", config.path,
                          config.head_dim);
    return f;
  }
  std::vector<std::string> known;
  for (const Family& f : families())
    for (const std::string& t : f.model_types)
      known.push_back(t);
  const std::string found = config.model_type.empty() ? fmt::format("architectures {}", config.architectures)
                                                      : fmt::format("model_type '{}'", config.model_type);
  throw ResourceError("{}: {}: no such model family here; expected one of: {}; choose a model of these families", config.path,
                      found, fmt::join(known, ", "));
}

bool tied_head(const Family& family, const ModelConfig& config) {
  return config.tie_word_embeddings.value_or(family.tied_by_default);
}

const std::string& head_tensor(const Family& family, const ModelConfig& config) {
  return tied_head(family, config) ? family.embedding : family.head;
}

bool has_bias(const LinearRow& row, const ModelConfig& config) {
  switch (row.bias) {
    case BiasRule::kNever: return false;
    case BiasRule::kAlways: return true;
    case BiasRule::kAttentionBias: return config.attention_bias;
    case BiasRule::kMlpBias: return config.mlp_bias;
  }
  return false;
}

int64_t extent(Extent e, const ModelConfig& config) {
  switch (e) {
    case Extent::kHidden: return config.hidden_size;
    case Extent::kQueryWidth: return config.query_width();
    case Extent::kKvWidth: return config.kv_width();
    case Extent::kIntermediate: return config.intermediate_size;
  }
  return 0;
}

std::string tensor_name(const std::string& pattern, int64_t layer, const char* suffix) {
  std::string name = pattern;
  const size_t at = name.find("{i}");
  if (at != std::string::npos) name.replace(at, 3, std::to_string(layer));
  return name + suffix;
}

std::vector<LinearSite> linear_sites(const Family& family, const ModelConfig& config) {
  std::vector<LinearSite> sites;
  for (int layer = 0; layer < config.layers; ++layer)
    for (const LinearRow& row : family.linears)
      sites.push_back({layer, row.role, tensor_name(row.tensor, layer, ".weight"), extent(row.rows, config),
                       extent(row.cols, config), row.group});
  return sites;
}

std::vector<ExpectedTensor> expected_tensors(const Family& family, const ModelConfig& config) {
  std::vector<ExpectedTensor> out = {{family.embedding, {config.vocab_size, config.hidden_size}}};
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const NormRow& row : family.norms)
      out.push_back({tensor_name(row.tensor, layer, ".weight"), {norm_width(row.place, config)}});
    for (const LinearRow& row : family.linears) {
      out.push_back({tensor_name(row.tensor, layer, ".weight"), {extent(row.rows, config), extent(row.cols, config)}});
      if (has_bias(row, config)) out.push_back({tensor_name(row.tensor, layer, ".bias"), {extent(row.rows, config)}});
    }
  }
  out.push_back({family.final_norm, {config.hidden_size}});
  if (!tied_head(family, config)) out.push_back({family.head, {config.vocab_size, config.hidden_size}});
  return out;
}

void check_tensors(const Family& family, const WeightSource& source) {
  for (const ExpectedTensor& t : expected_tensors(family, source.config())) {
    const std::vector<int64_t> found = source.shape(t.name);
    if (found != t.shape)
      throw ResourceError(
          "{}: tensor '{}': found shape {}; expected {} by config.json; the checkpoint and its config.json do not belong "
          "together",
          source.folder(), t.name, shape_text(found), shape_text(t.shape));
  }
}

}  // namespace sage
