#include "core/model/family.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/config/value.h"
#include "core/util/errors.h"
#include "core/util/log_once.h"

namespace sage {

namespace {

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool recognises(const Family& family, const ModelConfig& config) {
  if (family.norm_before && *family.norm_before != config.norm_before) return false;
  if (!config.model_type.empty()) return contains(family.model_types, config.model_type);
  return std::any_of(config.architectures.begin(), config.architectures.end(),
                     [&](const std::string& a) { return contains(family.architectures, a); });
}

std::string shape_text(const std::vector<int64_t>& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

void expect_norm(const Family& family, const ModelConfig& config, const std::string& name, int64_t width,
                 std::vector<ExpectedTensor>& out) {
  if (!config.norm_affine && family.norm == NormKind::kLayer) return;
  out.push_back({name + ".weight", {width}});
  if (family.norm == NormKind::kLayer) out.push_back({name + ".bias", {width}});
}

void check_activation(const Family& family, const ModelConfig& config) {
  std::vector<std::string> names;
  for (const Activation& a : family.activations)
    names.push_back(a.name);
  if (config.activation.empty() || contains(names, config.activation)) return;
  throw ResourceError("{}: {}: found '{}'; expected {} for the {} family; choose another model", config.path,
                      config.activation_key, config.activation, fmt::join(names, " or "), family.name);
}

}  // namespace

const std::vector<Family>& families() {
  static const std::vector<Family> all = {llama_family(), opt_family(), opt_post_norm_family()};
  return all;
}

const Family* recognised_family(const ModelConfig& config) {
  for (const Family& f : families())
    if (recognises(f, config)) return &f;
  return nullptr;
}

const Family& find_family(const ModelConfig& config) {
  if (const Family* f = recognised_family(config)) {
    check_activation(*f, config);
    if (f->positions == PositionKind::kRotary && config.head_dim % 2 != 0)
      throw ResourceError("{}: head_dim: found {}; expected an even number, since rotary embeddings turn pairs", config.path,
                          config.head_dim);
    if (f->project_in.empty() && has_projections(config))
      throw ResourceError(
          "{}: word_embed_proj_dim: found {}; expected hidden_size = {} for the {} family; choose another model", config.path,
          config.embedding_width, config.hidden_size, f->name);
    return *f;
  }
  std::vector<std::string> known;
  for (const Family& f : families())
    for (const std::string& t : f.model_types)
      if (!contains(known, t)) known.push_back(t);
  const std::string found = config.model_type.empty() ? fmt::format("architectures {}", config.architectures)
                                                      : fmt::format("model_type '{}'", config.model_type);
  throw ResourceError("{}: {}: no such model family here; expected one of: {}; choose a model of these families", config.path,
                      found, fmt::join(known, ", "));
}

bool tied_head(const Family& family, const ModelConfig& config) {
  return config.tie_word_embeddings.value_or(family.tied_by_default);
}

MlpKind mlp_kind(const Family& family, const ModelConfig& config) {
  for (const Activation& a : family.activations)
    if (a.name == config.activation) return a.mlp;
  return family.activations.front().mlp;
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
    case BiasRule::kEnableBias: return config.enable_bias;
  }
  return false;
}

bool has_final_norm(const Family& family, const ModelConfig& config) {
  return !family.final_norm.empty() && !config.remove_final_norm;
}

bool has_projections(const ModelConfig& config) { return config.embedding_width != config.hidden_size; }

double norm_eps(const Family& family, const ModelConfig& config) { return config.norm_eps.value_or(family.norm_eps); }

void check_sequence_length(const Family& family, const ModelConfig& config, int64_t length) {
  if (family.positions != PositionKind::kLearned || length <= config.max_positions) return;
  throw UserError(
      "{}: sequences of {} tokens; expected at most max_position_embeddings = {}, since the model has no embedding for "
      "later positions; choose shorter windows, e.g. protocol gptq-{}",
      config.path, length, config.max_positions, config.max_positions);
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

int64_t norm_width(NormPlace place, const ModelConfig& config) {
  return place == NormPlace::kQuery || place == NormPlace::kKey ? config.head_dim : config.hidden_size;
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
  std::vector<ExpectedTensor> out = {{family.embedding, {config.vocab_size, config.embedding_width}}};
  if (family.positions == PositionKind::kLearned)
    out.push_back({family.position_table, {config.max_positions + family.position_offset, config.hidden_size}});
  if (has_projections(config)) {
    out.push_back({family.project_in, {config.hidden_size, config.embedding_width}});
    out.push_back({family.project_out, {config.embedding_width, config.hidden_size}});
  }
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const NormRow& row : family.norms)
      expect_norm(family, config, tensor_name(row.tensor, layer, ""), norm_width(row.place, config), out);
    for (const LinearRow& row : family.linears) {
      out.push_back({tensor_name(row.tensor, layer, ".weight"), {extent(row.rows, config), extent(row.cols, config)}});
      if (has_bias(row, config)) out.push_back({tensor_name(row.tensor, layer, ".bias"), {extent(row.rows, config)}});
    }
  }
  if (has_final_norm(family, config)) expect_norm(family, config, family.final_norm, config.hidden_size, out);
  if (!tied_head(family, config)) out.push_back({family.head, {config.vocab_size, config.embedding_width}});
  return out;
}

std::vector<std::string> unread_tensors(const Family& family, const WeightSource& source) {
  std::set<std::string> read;
  for (const ExpectedTensor& t : expected_tensors(family, source.config()))
    read.insert(t.name);
  const std::set<std::string> in_file = [&] {
    const std::vector<std::string> names = source.names();
    return std::set<std::string>(names.begin(), names.end());
  }();
  std::vector<std::string> out;
  for (const std::string& name : in_file)
    if (read.count(name) == 0 && !name.ends_with("rotary_emb.inv_freq")) out.push_back(name);
  return out;
}

void report_unread_tensors(const Family& family, const WeightSource& source, bool strict) {
  const std::vector<std::string> unread = unread_tensors(family, source);
  if (unread.empty()) return;
  constexpr size_t kFirst = 4;
  const std::vector<std::string> first(unread.begin(), unread.begin() + static_cast<std::ptrdiff_t>(std::min(kFirst, unread.size())));
  const std::string found = fmt::format("{}: {} of its tensors are not part of the model config.json describes: {}{}", source.folder(),
                                        unread.size(), fmt::join(first, ", "), unread.size() > kFirst ? ", ..." : "");
  if (strict)
    throw ResourceError("{}; expected none with --strict; correct config.json, or leave --strict out to go on without them", found);
  log_warning_once(found + "; they are not read");
}

void check_tensors(const Family& family, const WeightSource& source) {
  for (const ExpectedTensor& t : expected_tensors(family, source.config())) {
    if (t.name == family.head && !source.has(t.name))
      throw ResourceError(
          "{}: no tensor '{}', and tie_word_embeddings is {}; expected the head, or the flag true where the embedding is the head "
          "as well; fetch the model again, or correct config.json",
          source.folder(), t.name, source.config().tie_word_embeddings ? "false" : "left out, which means false");
    const std::vector<int64_t> found = source.shape(t.name);
    if (found != t.shape)
      throw ResourceError(
          "{}: tensor '{}': found shape {}; expected {} by config.json; the checkpoint and its config.json do not belong "
          "together",
          source.folder(), t.name, shape_text(found), shape_text(t.shape));
  }
}

}  // namespace sage
