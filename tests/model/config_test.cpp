// config.json in its spellings, and the frequencies of rotary embeddings.
#include <gtest/gtest.h>

#include <cmath>

#include "core/model/family.h"
#include "core/model/model_config.h"
#include "core/model/rotary.h"
#include "core/util/errors.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

// A small sound configuration with one change: `changes` is put behind it, `without` is left out.
std::string config(const std::string& changes = "", const std::string& without = "") {
  const std::vector<std::pair<std::string, std::string>> base = {{"model_type", "\"llama\""},  {"hidden_size", "64"},
                                                                 {"intermediate_size", "144"}, {"num_hidden_layers", "2"},
                                                                 {"num_attention_heads", "4"}, {"vocab_size", "320"}};
  std::string out = "{";
  for (const auto& [key, value] : base)
    if (key != without && changes.find("\"" + key + "\"") == std::string::npos) out += "\"" + key + "\":" + value + ",";
  if (changes.empty()) out.pop_back();
  return out + changes + "}";
}
ModelConfig parse(const std::string& changes = "") { return parse_model_config(config(changes), "config.json"); }

TEST(ModelConfig, FillsTheDefaultsOfHuggingFace) {
  const ModelConfig c = parse();
  EXPECT_EQ(c.kv_heads, 4);
  EXPECT_EQ(c.head_dim, 16);
  EXPECT_EQ(c.rotary.theta, 10000.0);
  EXPECT_EQ(c.rotary.scaling, RotaryConfig::Scaling::kDefault);
  EXPECT_FALSE(c.norm_eps.has_value());  // the family's
  EXPECT_EQ(norm_eps(find_family(c), c), 1e-6);
  EXPECT_FALSE(c.attention_bias || c.mlp_bias || c.tie_word_embeddings.has_value());
  EXPECT_TRUE(c.activation.empty() && c.activation_key.empty());
  EXPECT_TRUE(c.enable_bias && c.norm_before && c.norm_affine && !c.remove_final_norm);
  EXPECT_EQ(c.embedding_width, 64);
  EXPECT_EQ(c.json, config());
}

TEST(ModelConfig, ReadsBothRotarySpellings) {
  const char* llama3 =
      "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32";
  for (const std::string& text : std::vector<std::string>{
           std::string("\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",") + llama3 + "}",
           std::string("\"rope_theta\":500000,\"rope_scaling\":{\"type\":\"llama3\",") + llama3 + "}",
           std::string("\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"llama3\",") + llama3 + "}",
           std::string("\"rope_theta\":500000.0,\"rope_parameters\":{\"rope_type\":\"llama3\",") + llama3 + "}"}) {
    const RotaryConfig r = parse(text).rotary;
    EXPECT_EQ(r.scaling, RotaryConfig::Scaling::kLlama3) << text;
    EXPECT_EQ(r.theta, 500000.0);
    EXPECT_EQ(r.factor, 8.0);
    EXPECT_EQ(r.low_freq_factor, 1.0);
    EXPECT_EQ(r.high_freq_factor, 4.0);
    EXPECT_EQ(r.original_positions, 32);
  }
  const RotaryConfig linear = parse("\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}").rotary;
  EXPECT_EQ(linear.scaling, RotaryConfig::Scaling::kLinear);
  EXPECT_EQ(linear.factor, 4.0);
  EXPECT_EQ(parse("\"rope_scaling\":null,\"rope_theta\":1e5").rotary.theta, 1e5);
  EXPECT_EQ(parse("\"rope_parameters\":{\"rope_theta\":1e5,\"rope_type\":\"default\"}").rotary.theta, 1e5);
  EXPECT_EQ(parse("\"rope_parameters\":{\"rope_theta\":7}").rotary.theta, 7.0);
}

TEST(ModelConfig, ReadsTheRest) {
  const ModelConfig c = parse(
      "\"num_key_value_heads\":2,\"head_dim\":24,\"attention_bias\":true,\"mlp_bias\":true,\"tie_word_embeddings\":true,"
      "\"sliding_window\":16,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":256,\"bos_token_id\":1,\"eos_token_id\":[2,3],"
      "\"torch_dtype\":\"bfloat16\",\"quantization_config\":{\"quant_method\":\"sage-ptq\"},\"architectures\":["
      "\"LlamaForCausalLM\"]");
  EXPECT_EQ(c.query_width(), 96);
  EXPECT_EQ(c.kv_width(), 48);
  EXPECT_TRUE(c.attention_bias && c.mlp_bias && c.tie_word_embeddings.value());
  EXPECT_EQ(c.sliding_window, 16);
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_EQ(c.bos_token_id, 1);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(c.quantization_method, "sage-ptq");
  EXPECT_EQ(parse("\"eos_token_id\":2").eos_token_ids, std::vector<int64_t>{2});
}

TEST(ModelConfig, RefusesHostileValuesByName) {
  struct Case {
    std::string changes;
    std::vector<std::string> says;
  };
  for (const Case& c : std::vector<Case>{
           {"\"hidden_size\":0", {"hidden_size", "found 0", "1 .. 1048576"}},
           {"\"hidden_size\":-64", {"hidden_size", "-64"}},
           {"\"hidden_size\":64.0", {"hidden_size", "64.0", "an integer"}},
           {"\"hidden_size\":\"64\"", {"hidden_size", "'64'"}},
           {"\"hidden_size\":true", {"hidden_size", "true"}},
           {"\"hidden_size\":[64]", {"hidden_size", "a list of 1 items"}},
           {"\"hidden_size\":18446744073709551615", {"18446744073709551615"}},
           {"\"hidden_size\":1e400", {"not valid JSON"}},
           {"\"num_hidden_layers\":2000000000", {"num_hidden_layers", "2000000000"}},
           {"\"vocab_size\":99999999999", {"vocab_size"}},
           {"\"num_attention_heads\":0", {"num_attention_heads"}},
           {"\"num_attention_heads\":5", {"divisor of hidden_size = 64"}},
           {"\"num_key_value_heads\":3", {"num_key_value_heads", "found 3", "divisor of num_attention_heads = 4"}},
           {"\"num_key_value_heads\":8", {"num_key_value_heads"}},
           {"\"head_dim\":0", {"head_dim"}},
           {"\"num_attention_heads\":65536,\"head_dim\":65536", {"head_dim", "at most"}},
           {"\"rms_norm_eps\":-1", {"rms_norm_eps"}},
           {"\"rms_norm_eps\":NaN", {"not valid JSON"}},
           {"\"rope_theta\":0", {"rope_theta"}},
           {"\"rope_scaling\":3", {"rope_scaling", "found 3"}},
           {"\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}", {"rope_scaling.rope_type", "'yarn'", "linear or llama3"}},
           {"\"rope_scaling\":{\"type\":\"linear\"}", {"rope_scaling.factor is missing"}},
           {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}", {"rope_scaling.factor"}},
           {"\"rope_scaling\":{\"factor\":2}", {"rope_scaling.rope_type", "'factor'"}},
           {"\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":4,\"high_freq_factor\":4}",
            {"more than low_freq_factor"}},
           {"\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4}",
            {"original_max_position_embeddings is missing"}},
           {"\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"default\"}}",
            {"rope_parameters.rope_type", "full_attention"}},
           {"\"partial_rotary_factor\":0.5", {"partial_rotary_factor"}},
           {"\"attention_bias\":1", {"attention_bias", "true or false"}},
           {"\"architectures\":\"Llama\"", {"architectures"}},
           {"\"quantization_config\":[]", {"quantization_config"}},
           {"\"x\":1,\"x\":2", {"'x' twice"}},
           {"\"x\":" + std::string(100, '[') + std::string(100, ']'), {"nested deeper than 64"}},
           {"\"x\":" + std::string(100000, '['), {"nested deeper than 64"}},
       })
    EXPECT_ERROR(ResourceError, parse(c.changes), "config.json", c.says[0], c.says.back());
  for (const std::string key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"})
    EXPECT_ERROR(ResourceError, parse_model_config(config("", key), "config.json"), key + " is missing");
  for (const std::string& text : {std::string(), std::string("[]"), std::string("3"), std::string("{"), std::string("{} {}"),
                                  std::string("\xff\xfe"), config() + std::string(1, '\0')})
    EXPECT_ERROR(ResourceError, parse_model_config(text, "config.json"), "config.json");
  EXPECT_EQ(parse("").hidden_size, parse_model_config("\xEF\xBB\xBF" + config(), "config.json").hidden_size);
  TemporaryFolder dir;
  EXPECT_ERROR(ResourceError, read_model_config(dir.path()), "config.json", "not found");
  EXPECT_ERROR(ResourceError, read_model_config(dir.file("none")), "no such folder");
}

TEST(Rotary, FollowsTheClosedForms) {
  RotaryConfig r;
  r.theta = 10000.0;
  const RotaryTable plain = rotary_table(r, 8);
  ASSERT_EQ(plain.inv_freq.size(), 4u);
  const double expected[4] = {1.0, 0.1, 0.01, 0.001};
  for (size_t i = 0; i < 4; ++i)
    EXPECT_NEAR(plain.inv_freq[i], expected[i], 1e-15);
  EXPECT_EQ(plain.head_dim, 8);
  EXPECT_EQ(plain.attention_factor, 1.0f);
  r.scaling = RotaryConfig::Scaling::kLinear;
  r.factor = 4.0;
  const RotaryTable linear = rotary_table(r, 8);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_DOUBLE_EQ(linear.inv_freq[i], plain.inv_freq[i] / 4.0);
  EXPECT_THROW(rotary_table(r, 7), ResourceError);
}

TEST(Rotary, BlendsTheThreeBandsOfLlama3) {
  RotaryConfig r;
  r.theta = 500000.0;
  r.scaling = RotaryConfig::Scaling::kLlama3;
  r.factor = 8.0;
  r.low_freq_factor = 1.0;
  r.high_freq_factor = 4.0;
  r.original_positions = 32;
  // By the rule in transformers' modeling_rope_utils.py, evaluated in double precision outside this program.
  const double expected[8] = {1.0,
                              0.02424034309358572,
                              0.004700753866357992,
                              0.0009115830921521386,
                              0.00017677669529663688,
                              3.428102195952591e-05,
                              6.647869871181236e-06,
                              1.2891731721515574e-06};
  const RotaryTable t = rotary_table(r, 16);
  for (size_t i = 0; i < 8; ++i)
    EXPECT_NEAR(t.inv_freq[i] / expected[i], 1.0, 1e-13) << i;
  // LLaMA-3.1 8B: original length 8192, head_dim 128; pairs 28 .. 36 lie in or beside the blended band.
  r.original_positions = 8192;
  const double large[11] = {0.003942276030116656,  0.0032114459947525913, 0.002166570763503359,   0.0013718935677611381,
                            0.0008567514129196321, 0.0005248461609929547, 0.00031269375038406517, 0.00017850781276799638,
                            9.556212353964683e-05, 7.78465527393245e-05,  6.341514345777615e-05};
  const RotaryTable big = rotary_table(r, 128);
  for (size_t i = 0; i < 11; ++i)
    EXPECT_NEAR(big.inv_freq[27 + i] / large[i], 1.0, 1e-13) << i;
}

}  // namespace
}  // namespace sage
