// Recognising families, their sites and the shapes they imply.
#include "core/model/family.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/model/checkpoint.h"
#include "core/util/errors.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

ModelConfig read(const std::string& model, const nlohmann::json& changes = nlohmann::json::object()) {
  nlohmann::json json = nlohmann::json::parse(slurp(model_folder(model) + "/config.json"));
  json.merge_patch(changes);
  return parse_model_config(json.dump(), "config.json");
}

TEST(Family, IsRecognisedByConfigAlone) {
  EXPECT_EQ(find_family(read("llama_mha")).name, "llama");
  EXPECT_EQ(find_family(read("llama_mha", {{"model_type", nullptr}})).name, "llama");
  EXPECT_ERROR(ResourceError, find_family(read("llama_mha", {{"model_type", "bert"}})), "config.json", "'bert'", "llama");
  EXPECT_ERROR(ResourceError, find_family(read("llama_mha", {{"model_type", nullptr}, {"architectures", {"BertModel"}}})),
               "BertModel", "llama");
  EXPECT_ERROR(ResourceError, find_family(read("llama_mha", {{"hidden_act", "gelu"}})), "hidden_act", "'gelu'", "silu");
  EXPECT_ERROR(ResourceError, find_family(read("llama_mha", {{"head_dim", 15}})), "head_dim", "15", "even");
}

TEST(Family, ListsSitesInTheOrderOfTheComputation) {
  const ModelConfig c = read("llama_head_dim");  // 4 heads of 24 on hidden 64, one KV head
  const std::vector<LinearSite> sites = linear_sites(llama_family(), c);
  ASSERT_EQ(sites.size(), 14u);
  struct Row {
    std::string name, group;
    int64_t rows, cols;
  };
  const std::vector<Row> rows = {{"self_attn.q_proj", "qkv", 96, 64},   {"self_attn.k_proj", "qkv", 24, 64},
                                 {"self_attn.v_proj", "qkv", 24, 64},   {"self_attn.o_proj", "o", 64, 96},
                                 {"mlp.gate_proj", "gate_up", 144, 64}, {"mlp.up_proj", "gate_up", 144, 64},
                                 {"mlp.down_proj", "down", 64, 144}};
  for (size_t i = 0; i < sites.size(); ++i) {
    const Row& row = rows[i % 7];
    EXPECT_EQ(sites[i].layer, static_cast<int>(i / 7));
    EXPECT_EQ(sites[i].name, "model.layers." + std::to_string(i / 7) + "." + row.name + ".weight");
    EXPECT_EQ(sites[i].group, row.group);
    EXPECT_EQ(sites[i].rows, row.rows);
    EXPECT_EQ(sites[i].cols, row.cols);
  }
}

TEST(Family, ExpectsExactlyTheTensorsOfTheCheckpoints) {
  for (const std::string model :
       {"llama_mha", "llama_gqa_tied_bf16", "llama_bias_f16_sharded", "llama_rope_llama3", "llama_head_dim"}) {
    const CheckpointSource source(model_folder(model));
    std::set<std::string> expected;
    for (const ExpectedTensor& t : expected_tensors(llama_family(), source.config()))
      expected.insert(t.name);
    const std::vector<std::string> names = source.names();
    EXPECT_EQ(expected, std::set<std::string>(names.begin(), names.end())) << model;
    EXPECT_NO_THROW(check_tensors(llama_family(), source));
  }
}

TEST(Family, TiesTheHeadWhenAskedTo) {
  EXPECT_EQ(head_tensor(llama_family(), read("llama_gqa_tied_bf16")), "model.embed_tokens.weight");
  EXPECT_EQ(head_tensor(llama_family(), read("llama_mha")), "lm_head.weight");
  EXPECT_EQ(head_tensor(llama_family(), read("llama_mha", {{"tie_word_embeddings", nullptr}})), "lm_head.weight");
  Family tied = llama_family();
  tied.tied_by_default = true;
  EXPECT_TRUE(tied_head(tied, read("llama_mha", {{"tie_word_embeddings", nullptr}})));
  EXPECT_FALSE(tied_head(tied, read("llama_mha")));
}

TEST(Family, ComparesShapesWithTheConfig) {
  struct Case {
    nlohmann::json changes;
    std::vector<std::string> says;
  };
  for (const Case& c : std::vector<Case>{
           {{{"num_key_value_heads", 2}}, {"model.layers.0.self_attn.k_proj.weight", "[64, 64]", "expected [32, 64]"}},
           {{{"intermediate_size", 145}}, {"model.layers.0.mlp.gate_proj.weight", "[144, 64]", "expected [145, 64]"}},
           {{{"vocab_size", 321}}, {"model.embed_tokens.weight", "[320, 64]", "expected [321, 64]"}},
           {{{"num_hidden_layers", 3}},
            {"no tensor 'model.layers.2.input_layernorm.weight'", "nearest name", "input_layernorm.weight'"}},
           {{{"attention_bias", true}}, {"no tensor 'model.layers.0.self_attn.q_proj.bias'"}},
       }) {
    TemporaryFolder dir;
    dir.copy_model("llama_mha");
    nlohmann::json json = nlohmann::json::parse(slurp(dir.file("config.json")));
    json.merge_patch(c.changes);
    dir.write("config.json", json.dump());
    const CheckpointSource source(dir.path());
    EXPECT_ERROR(ResourceError, check_tensors(find_family(source.config()), source), dir.path(), c.says[0], c.says.back());
  }
}

}  // namespace
}  // namespace sage
