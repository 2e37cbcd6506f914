// What is part of a model's identity and what is not.
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/model/checkpoint.h"
#include "core/model/model_identity.h"
#include "core/util/errors.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Edit {
  const char* what;
  std::function<void(json&)> apply;
};

std::string text_of(const json& config) {
  const ModelConfig c = parse_model_config(config.dump(), "config.json");
  return forward_text(find_family(c), c);
}
json config_of(const char* model) { return json::parse(slurp(model_folder(model) + "/config.json")); }
json rope(const char* text) { return json::parse(text); }

const char* const kLlama3 = R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                "original_max_position_embeddings": 64})";

TEST(ForwardText, EveryValueTheForwardPassReadsIsInIt) {
  const std::vector<Edit> llama = {
      {"rope_theta", [](json& c) { c["rope_theta"] = 100.0; }},
      {"rope_theta inside rope_parameters",
       [](json& c) {
         c.erase("rope_theta"), c.erase("rope_scaling"),
             c["rope_parameters"] = rope(R"({"rope_type": "default", "rope_theta": 77})");
       }},
      {"linear scaling", [](json& c) { c["rope_scaling"] = rope(R"({"type": "linear", "factor": 2.0})"); }},
      {"another factor", [](json& c) { c["rope_scaling"] = rope(R"({"type": "linear", "factor": 2.5})"); }},
      {"llama3 scaling", [](json& c) { c["rope_scaling"] = rope(kLlama3); }},
      {"llama3: factor", [](json& c) { c["rope_scaling"] = rope(kLlama3), c["rope_scaling"]["factor"] = 4; }},
      {"llama3: low_freq_factor", [](json& c) { c["rope_scaling"] = rope(kLlama3), c["rope_scaling"]["low_freq_factor"] = 2; }},
      {"llama3: high_freq_factor",
       [](json& c) { c["rope_scaling"] = rope(kLlama3), c["rope_scaling"]["high_freq_factor"] = 8; }},
      {"llama3: original positions",
       [](json& c) { c["rope_scaling"] = rope(kLlama3), c["rope_scaling"]["original_max_position_embeddings"] = 32; }},
      {"rms_norm_eps", [](json& c) { c["rms_norm_eps"] = 0.05; }},
      {"hidden_size", [](json& c) { c["hidden_size"] = 128; }},
      {"intermediate_size", [](json& c) { c["intermediate_size"] = 512; }},
      {"num_hidden_layers", [](json& c) { c["num_hidden_layers"] = 1; }},
      {"num_attention_heads", [](json& c) { c["num_attention_heads"] = 8; }},
      {"num_key_value_heads", [](json& c) { c["num_key_value_heads"] = 1; }},
      {"head_dim", [](json& c) { c["head_dim"] = 2; }},
      {"vocab_size", [](json& c) { c["vocab_size"] = 77; }},
      {"tie_word_embeddings", [](json& c) { c["tie_word_embeddings"] = true; }},
      {"attention_bias", [](json& c) { c["attention_bias"] = true; }},
      {"mlp_bias", [](json& c) { c["mlp_bias"] = true; }},
  };
  const std::vector<Edit> opt = {
      {"do_layer_norm_before", [](json& c) { c["do_layer_norm_before"] = false; }},
      {"enable_bias", [](json& c) { c["enable_bias"] = false; }},
      {"layer_norm_elementwise_affine", [](json& c) { c["layer_norm_elementwise_affine"] = false; }},
      {"_remove_final_layer_norm", [](json& c) { c["_remove_final_layer_norm"] = true; }},
      {"activation_function", [](json& c) { c["activation_function"] = "gelu"; }},
      {"max_position_embeddings", [](json& c) { c["max_position_embeddings"] = 128; }},
      {"word_embed_proj_dim", [](json& c) { c["word_embed_proj_dim"] = 16; }},
      {"layer_norm_eps", [](json& c) { c["layer_norm_eps"] = 1e-3; }},
      {"tie_word_embeddings", [](json& c) { c["tie_word_embeddings"] = false; }},
  };
  for (const auto& [model, edits] : {std::pair{"llama_mha", llama}, {"opt", opt}}) {
    std::map<std::string, std::string> seen = {{text_of(config_of(model)), "as it is"}};
    for (const Edit& edit : edits) {
      json config = config_of(model);
      edit.apply(config);
      const auto [it, fresh] = seen.emplace(text_of(config), edit.what);
      EXPECT_TRUE(fresh) << model << ": " << edit.what << " reads like " << it->second << ":\n" << it->first;
    }
  }
}

TEST(ForwardText, OtherSpellingsAndKeysThatDecideNothingAreNotInIt) {
  const std::vector<Edit> llama = {
      {"torch_dtype", [](json& c) { c["torch_dtype"] = "bfloat16"; }},
      {"dtype", [](json& c) { c["dtype"] = "float16"; }},
      {"transformers_version", [](json& c) { c["transformers_version"] = "9.9.9"; }},
      {"architectures", [](json& c) { c["architectures"] = json::array({"LlamaModel"}); }},
      {"model_type by its architecture",
       [](json& c) { c.erase("model_type"), c["architectures"] = json::array({"LlamaForCausalLM"}); }},
      {"_name_or_path", [](json& c) { c["_name_or_path"] = "/elsewhere"; }},
      {"use_cache", [](json& c) { c["use_cache"] = false; }},
      {"initializer_range", [](json& c) { c["initializer_range"] = 0.5; }},
      {"most positions of a rotary model", [](json& c) { c["max_position_embeddings"] = 12345; }},
      {"ids of special tokens",
       [](json& c) {
         c["bos_token_id"] = 7, c["eos_token_id"] = json::array({8, 9});
       }},
      {"swish", [](json& c) { c["hidden_act"] = "swish"; }},
      {"the default activation", [](json& c) { c.erase("hidden_act"); }},
      {"an unscaled scaling", [](json& c) { c["rope_scaling"] = rope(R"({"rope_type": "default"})"); }},
      {"linear scaling by one", [](json& c) { c["rope_scaling"] = rope(R"({"type": "linear", "factor": 1.0})"); }},
      {"heads of keys as many as of queries", [](json& c) { c["num_key_value_heads"] = c["num_attention_heads"]; }},
      {"the head_dim that follows",
       [](json& c) { c["head_dim"] = c["hidden_size"].get<int>() / c["num_attention_heads"].get<int>(); }},
      {"a window this family does not have", [](json& c) { c["sliding_window"] = 32; }},
  };
  const std::vector<Edit> opt = {
      {"dropout", [](json& c) { c["dropout"] = 0.5; }},
      {"the default tie", [](json& c) { c.erase("tie_word_embeddings"); }},
      {"the default epsilon", [](json& c) { c["layer_norm_eps"] = 0.00001; }},
      {"an embedding as wide as the stream", [](json& c) { c["word_embed_proj_dim"] = c["hidden_size"]; }},
  };
  for (const auto& [model, edits] : {std::pair{"llama_mha", llama}, {"opt", opt}})
    for (const Edit& edit : edits) {
      json config = config_of(model);
      edit.apply(config);
      EXPECT_EQ(text_of(config), text_of(config_of(model))) << model << ": " << edit.what;
    }
  // One meaning, two spellings of the rotary embedding.
  json old_style = config_of("llama_mha"), new_style = old_style;
  old_style["rope_theta"] = 500.0;
  old_style["rope_scaling"] = rope(kLlama3);
  new_style.erase("rope_theta");
  new_style.erase("rope_scaling");
  new_style["rope_parameters"] = rope(kLlama3);
  new_style["rope_parameters"]["rope_theta"] = 5e2;
  EXPECT_EQ(text_of(old_style), text_of(new_style));
}

TEST(ForwardText, HoldsItsVersionAndItsFamily) {
  EXPECT_TRUE(text_of(config_of("opt")).starts_with(fmt::format("forward {}\nfamily opt\n", kForwardVersion)));
}

// Files that decide token ids, and those that do not.
TEST(TokenizerFiles, WhatDecidesTokenIds) {
  const TemporaryFolder folder;
  std::map<std::string, std::string> seen;
  const auto is_new = [&](const char* what) {
    const auto [it, fresh] = seen.emplace(tokenizer_files_digest(folder.path()), what);
    EXPECT_TRUE(fresh) << what << " is taken for: " << it->second;
  };
  const auto is_same = [&](const char* what, const std::string& as) {
    EXPECT_EQ(tokenizer_files_digest(folder.path()), as) << what;
  };
  is_new("no tokenizer");
  folder.write("vocab.json", R"({"a": 0})");
  is_new("a vocabulary");
  folder.write("merges.txt", "a b\n");
  is_new("merges");
  folder.write("tokenizer.json", R"({"model": {}})");
  is_new("tokenizer.json");
  std::string now = tokenizer_files_digest(folder.path());
  folder.write("vocab.json", R"({"b": 0})");
  is_same("a vocabulary beside tokenizer.json, which wins", now);
  folder.write("added_tokens.json", R"({"<x>": 5})");
  is_new("added tokens");
  folder.write("special_tokens_map.json", R"({"bos_token": "<s>"})");
  is_new("special tokens");
  now = tokenizer_files_digest(folder.path());
  folder.write("tokenizer_config.json",
               R"({"chat_template": "x", "model_max_length": 7, "name_or_path": "y", "padding_side": "left"})");
  is_same("keys that decide no id", now);
  folder.write("tokenizer_config.json", R"({"add_bos_token": true, "chat_template": "x"})");
  is_new("a BOS");
  now = tokenizer_files_digest(folder.path());
  folder.write("tokenizer_config.json", "{ \"model_max_length\": 1,\n  \"add_bos_token\": true }");
  is_same("another layout", now);
  folder.write("tokenizer_config.json", R"({"add_bos_token": false})");
  is_new("no BOS");
  folder.write("tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true})");
  is_new("an EOS");
  folder.write("tokenizer_config.json", R"({"add_bos_token": false, "add_prefix_space": true})");
  is_new("a space in front");
  folder.write("tokenizer_config.json", R"({"add_bos_token": false, "added_tokens_decoder": {"5": {"content": "<y>"}}})");
  is_new("tokens added elsewhere");
  folder.write("tokenizer_config.json", "not JSON");
  is_new("a damaged file");
  folder.write("tokenizer.json", R"({"model": {}, "post_processor": null})");
  is_new("another template");
}

TEST(ModelDigest, IsOfConfigTensorsTokenizerAndRecipe) {
  const TemporaryFolder folder;
  json config = config_of("llama_mha");
  const auto digest = [&](const std::string& tensors, const std::string& recipe) {
    return model_digest(parse_model_config(config.dump(), "config.json"), tensors, folder.path(), recipe);
  };
  std::set<std::string> seen = {digest("t", "")};
  EXPECT_TRUE(seen.insert(digest("u", "")).second) << "tensors";
  EXPECT_TRUE(seen.insert(digest("t", "packed")).second) << "recipe";
  folder.write("tokenizer.json", "{\"model\": 1}");
  EXPECT_TRUE(seen.insert(digest("t", "")).second) << "tokenizer";
  config["rms_norm_eps"] = 0.25;
  EXPECT_TRUE(seen.insert(digest("t", "")).second) << "config";
  config["torch_dtype"] = "float64";
  EXPECT_FALSE(seen.insert(digest("t", "")).second) << "torch_dtype";
}

TEST(ModelDigest, OfAFolderDoesNotDependOnItsPlace) {
  const TemporaryFolder cache, a, b;
  setenv("SAGEPTQ_CACHE", cache.path().c_str(), 1);
  a.copy_model("llama_mha");
  b.copy_model("llama_mha");
  const std::string digest = CheckpointSource(a.path()).digest();
  EXPECT_EQ(CheckpointSource(b.path()).digest(), digest);
  json config = config_of("llama_mha");
  config["rope_theta"] = 100.0;
  b.write("config.json", config.dump());
  EXPECT_NE(CheckpointSource(b.path()).digest(), digest);
  unsetenv("SAGEPTQ_CACHE");
}

}  // namespace
}  // namespace sage
