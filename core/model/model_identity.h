// What makes a model this one and no other. Everything that is filed under a model (runs, kept final states, Grams,
// half-finished folders) is filed under this: two folders with the same weights and another rope_theta, another added token or
// another BOS rule are two models, and two spellings of one configuration are one.
#pragma once

#include <string>

#include "core/model/family.h"
#include "core/model/model_config.h"

namespace sage {

// Raise it when the same model no longer gives the same final states: the forward pass itself or a backend's operations of it
// (beyond their rounding).
inline constexpr int kForwardVersion = 1;

// What the forward pass takes from the family's table and from config.json, as lines of text. Values are as parsed, defaults
// filled in: `silu` and `swish`, rope_scaling and rope_parameters, a flag that is absent and its default read the same. What
// decides no number (torch_dtype, transformers_version, use_cache, names, ids of special tokens, the most positions of a rotary
// model) is not in it.
std::string forward_text(const Family& family, const ModelConfig& config);

// SHA-256 of the files that decide token ids: tokenizer.json, or vocab.json and merges.txt; added_tokens.json;
// special_tokens_map.json; tokenizer_config.json without the keys that decide none (chat_template, model_max_length, ...).
// A folder without any of them has a digest, too.
std::string tokenizer_files_digest(const std::string& folder);

// SHA-256 of the forward text, the digest of all tensors (digest_of in checkpoint.h), the tokenizer's files of `folder`, and
// `recipe`: whatever else decides how tensors become weights (packed folders).
std::string model_digest(const ModelConfig& config, const std::string& tensors, const std::string& folder,
                         const std::string& recipe = "");

}  // namespace sage
