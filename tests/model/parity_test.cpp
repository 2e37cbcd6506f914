// Our forward pass against transformers: every small model on every backend, and SmolLM2-135M.
#include "core/model/parity.h"

#include <gtest/gtest.h>

#include "core/model/checkpoint.h"
#include "core/model/forward.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "kernels/backends.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

ParityReport parity(const Family& family, const std::string& model, const std::string& backend, double tolerance) {
  const CheckpointSource source(model_folder(model));
  return check_parity(family, source, SafetensorsFile(model_folder(model) + "/expected.safetensors"), *make_backend(backend),
                      tolerance);
}

class SmallModel : public testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(SmallModel, AgreesWithTransformers) {
  const auto& [model, backend] = GetParam();
  const ParityReport r = parity(find_family(CheckpointSource(model_folder(model)).config()), model, backend, 1e-4);
  EXPECT_TRUE(r.within()) << r.verdict();
  ASSERT_EQ(r.rows.size(), 5u);  // three levels, logits, nll
  EXPECT_EQ(r.rows[0].tensor, "hidden_states.0");
  // A lookup, and the sum of two rows, are exact; a projection is not.
  if (model != "opt_350m_style") {
    EXPECT_EQ(r.rows[0].max_abs, 0.0);
  }
  for (const ParityRow& row : r.rows)
    EXPECT_LE(row.max_abs, 1e-4) << row.tensor;
  EXPECT_EQ(r.rows[3].values, 2 * 48 * 320);
  EXPECT_EQ(r.rows[4].values, 2 * 47);
}

INSTANTIATE_TEST_SUITE_P(Models, SmallModel,
                         testing::Combine(testing::Values("llama_mha", "llama_gqa_tied_bf16", "llama_bias_f16_sharded",
                                                          "llama_rope_llama3", "llama_rope_linear", "llama_head_dim", "opt",
                                                          "opt_350m_style"),
                                          testing::Values("reference", "cpu")),
                         [](const auto& info) { return std::get<0>(info.param) + "_" + std::get<1>(info.param); });

// Expected numbers by a double-precision forward pass in numpy; the inputs of gelu reach from -6.4 to 5.2.
TEST(OptWithGelu, AgreesWithNumpy) {
  for (const std::string backend : {"reference", "cpu"}) {
    const ParityReport r = parity(find_family(CheckpointSource(model_folder("opt_gelu")).config()), "opt_gelu", backend, 1e-4);
    EXPECT_TRUE(r.within()) << backend << ": " << r.verdict();
    ASSERT_EQ(r.rows.size(), 5u);
    EXPECT_EQ(r.rows[3].values, 2 * 24 * 64);
  }
  // The same weights with relu are another model: the comparison sees the activation.
  TemporaryFolder dir;
  dir.copy_model("opt_gelu");
  std::string config = slurp(dir.file("config.json"));
  config.replace(config.find("\"gelu\""), 6, "\"relu\"");
  dir.write("config.json", config);
  const CheckpointSource relu(dir.path());
  EXPECT_FALSE(check_parity(find_family(relu.config()), relu, SafetensorsFile(dir.file("expected.safetensors")),
                            *make_backend("cpu"), 1e-4)
                   .within());
}

// What a new family takes: these differ from Llama in a few rows of the table.
Family mistral() {
  Family f = llama_family();
  f.model_types = {"mistral"};
  f.sliding_window = true;
  return f;
}
Family qwen2() {
  Family f = llama_family();
  f.model_types = {"qwen2"};
  for (size_t i = 0; i < 3; ++i)
    f.linears[i].bias = BiasRule::kAlways;
  return f;
}
Family qwen3() {
  Family f = llama_family();
  f.model_types = {"qwen3"};
  f.norms.push_back({NormPlace::kQuery, "model.layers.{i}.self_attn.q_norm"});
  f.norms.push_back({NormPlace::kKey, "model.layers.{i}.self_attn.k_norm"});
  return f;
}

TEST(FamilyTable, CarriesOtherFamiliesByAFewRows) {
  for (const std::string backend : {"reference", "cpu"})
    for (const auto& [model, family] : {std::pair{"mistral_sliding", mistral()}, {"qwen2", qwen2()}, {"qwen3", qwen3()}}) {
      const ParityReport r = parity(family, model, backend, 1e-4);
      EXPECT_TRUE(r.within()) << model << " " << backend << ": " << r.verdict();
    }
  // Without its own rows, the same weights give something else: the comparison sees it.
  Family other_eps = opt_family();
  other_eps.norm_eps = 1e-3;
  for (const Family& f : {other_eps, opt_post_norm_family()})
    EXPECT_FALSE(parity(f, "opt", "reference", 1e-4).within()) << f.name;
  const ParityReport wrong = parity(llama_family(), "mistral_sliding", "reference", 1e-4);
  EXPECT_FALSE(wrong.within());
}

TEST(Parity, NamesTheFirstPlaceThatDiverges) {
  TemporaryFolder dir;
  dir.copy_model("llama_mha");
  // One weight of the second block's down projection, channel 5, is changed.
  const SafetensorsFile file(dir.file("model.safetensors"));
  const TensorInfo& t = file.at("model.layers.1.mlp.down_proj.weight");
  std::string bytes = slurp(dir.file("model.safetensors"));
  float w[144];
  const size_t at = file.header_bytes() + t.begin + 5 * sizeof(w);
  for (float& x : w)
    x = 0.5f;
  bytes.replace(at, sizeof(w), reinterpret_cast<const char*>(w), sizeof(w));
  dir.write("changed.safetensors", bytes);
  std::filesystem::rename(dir.file("changed.safetensors"), dir.file("model.safetensors"));
  const CheckpointSource source(dir.path());
  const ParityReport r =
      check_parity(llama_family(), source, SafetensorsFile(dir.file("expected.safetensors")), *make_backend("reference"), 1e-4);
  ASSERT_FALSE(r.within());
  EXPECT_TRUE(r.rows[0].within && r.rows[1].within);
  EXPECT_EQ(r.first_outside()->tensor, "hidden_states.2");
  EXPECT_EQ(r.first_outside()->first_place.rfind("sequence 0, position 0, channel", 0), 0u);
  EXPECT_NE(r.verdict().find("hidden_states.2: first divergence at sequence 0, position 0"), std::string::npos) << r.verdict();
}

// Infinity, NaN and a hair too much are outside; rounding of a huge activation is not.
TEST(Parity, AllowsRoundingOfLargeValuesOnly) {
  TemporaryFolder dir;
  dir.copy_model("llama_mha");
  const CheckpointSource source(dir.path());
  const auto backend = make_backend("reference");
  const SafetensorsFile original(model_folder("llama_mha") + "/expected.safetensors");
  const std::vector<double> level = original.load_doubles("hidden_states.0");
  const auto outside_when = [&](float value) {
    std::string bytes = slurp(model_folder("llama_mha") + "/expected.safetensors");
    bytes.replace(original.header_bytes() + original.at("hidden_states.0").begin + 4 * 70, 4,
                  reinterpret_cast<const char*>(&value), 4);
    const SafetensorsFile changed =
        SafetensorsFile::from_memory(std::as_bytes(std::span(bytes.data(), bytes.size())), "changed");
    const ParityReport r = check_parity(llama_family(), source, changed, *backend, 1e-4);
    if (!r.within()) {
      EXPECT_EQ(r.first_outside()->first_place, "sequence 0, position 1, channel 6");
    }
    return !r.within();
  };
  const auto x = static_cast<float>(level[70]);
  EXPECT_FALSE(outside_when(x + 0.9e-4f));
  EXPECT_TRUE(outside_when(x + 1.1e-4f));
  EXPECT_TRUE(outside_when(x - 1.1e-4f));
  EXPECT_TRUE(outside_when(std::numeric_limits<float>::quiet_NaN()));
  EXPECT_TRUE(outside_when(std::numeric_limits<float>::infinity()));
  // 2^-19 of 10^4 is 0.019: the embedding itself is made that large.
  std::string weights = slurp(dir.file("model.safetensors"));
  const SafetensorsFile file(dir.file("model.safetensors"));
  const int64_t token = original.load_integers("input_ids")[1];
  const float huge = 10000.0f;
  weights.replace(file.header_bytes() + file.at("model.embed_tokens.weight").begin + static_cast<size_t>(4 * (token * 64 + 6)),
                  4, reinterpret_cast<const char*>(&huge), 4);
  dir.write("changed.safetensors", weights);
  std::filesystem::rename(dir.file("changed.safetensors"), dir.file("model.safetensors"));
  const CheckpointSource large(dir.path());
  const auto level0_within = [&](float value) {
    std::vector<float> states(level.begin(), level.end());
    const std::vector<int64_t> ids = original.load_integers("input_ids");
    for (size_t t = 0; t < ids.size(); ++t)
      if (ids[t] == token) states[t * 64 + 6] = value;
    std::string bytes = slurp(model_folder("llama_mha") + "/expected.safetensors");
    bytes.replace(original.header_bytes() + original.at("hidden_states.0").begin, 4 * states.size(),
                  reinterpret_cast<const char*>(states.data()), 4 * states.size());
    const SafetensorsFile changed =
        SafetensorsFile::from_memory(std::as_bytes(std::span(bytes.data(), bytes.size())), "changed");
    return check_parity(llama_family(), large, changed, *backend, 1e-4).rows[0].within;
  };
  EXPECT_TRUE(level0_within(huge + 0.018f));
  EXPECT_FALSE(level0_within(huge + 0.021f));
}

TEST(Parity, RefusesFilesOfAnotherModel) {
  const CheckpointSource source(model_folder("llama_mha"));
  const auto backend = make_backend("reference");
  EXPECT_ERROR(ResourceError,
               check_parity(llama_family(), source, SafetensorsFile(source.folder() + "/model.safetensors"), *backend, 1e-4),
               "no tensor 'input_ids'");
  const std::string large = std::string(SAGE_TEST_DATA) + "/smollm2/expected.safetensors";
  EXPECT_ERROR(ResourceError, check_parity(llama_family(), source, SafetensorsFile(large), *backend, 1e-4), "input_ids",
               "vocabulary of 320");
}

// The residual stream does not depend on how many sequences are computed together, and the observer sees what it is promised.
TEST(Forward, SequencesAreIndependentAndInputsAreShown) {
  const CheckpointSource source(model_folder("llama_head_dim"));
  const Family& family = find_family(source.config());
  const auto backend = make_backend("reference");
  std::vector<int32_t> ids(3 * 8);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(i * 13 % 320);
  const BlockWeights block = load_block(family, source, 0);
  Workspace workspace(*backend);
  Matrix together = embed(family, source, ids, 8, *backend);
  std::vector<std::string> groups;
  std::vector<int64_t> widths;
  forward_block(family, source.config(), block, together.view(), 8, *backend, workspace,
                [&](const std::string& group, WeightView x) {
                  groups.push_back(group);
                  widths.push_back(x.cols);
                  EXPECT_EQ(x.rows, 24);
                });
  EXPECT_EQ(groups, (std::vector<std::string>{"qkv", "o", "gate_up", "down"}));
  EXPECT_EQ(widths, (std::vector<int64_t>{64, 96, 64, 144}));
  for (size_t s = 0; s < 3; ++s) {
    Matrix alone = embed(family, source, std::span(ids).subspan(8 * s, 8), 8, *backend);
    forward_block(family, source.config(), block, alone.view(), 8, *backend, workspace);
    for (int64_t t = 0; t < 8; ++t)
      for (int64_t j = 0; j < 64; ++j)
        ASSERT_EQ(alone(t, j), together(static_cast<int64_t>(8 * s) + t, j));
  }
  EXPECT_THROW(forward_block(family, source.config(), block, together.view(), 7, *backend, workspace), Error);
}

TEST(SmolLM2, AgreesWithTransformers) {
  const std::string folder = cache_folder() + "/models/SmolLM2-135M-Instruct";
  const char* fixtures = std::getenv("SAGEPTQ_FIXTURES");
  const std::string expected = fixtures != nullptr && *fixtures != '\0'
                                   ? std::string(fixtures) + "/smollm2/expected.safetensors"
                                   : std::string(SAGE_TEST_DATA) + "/smollm2/expected.safetensors";
  if (!std::filesystem::exists(folder + "/config.json")) GTEST_SKIP() << folder << " is absent; `make quickstart` fetches it";
  if (!std::filesystem::exists(expected)) GTEST_SKIP() << expected << " is absent";
  const CheckpointSource source(folder);
  const ParityReport r =
      check_parity(find_family(source.config()), source, SafetensorsFile(expected), *make_backend("cpu"), 1e-3);
  EXPECT_TRUE(r.within()) << r.verdict();
  ASSERT_EQ(r.rows.size(), 36u);  // 31 levels and five tensors of logits
  for (size_t i = 31; i < r.rows.size(); ++i)
    EXPECT_LE(r.rows[i].max_abs, 1e-3) << r.rows[i].tensor;
  RecordProperty("verdict", r.verdict());
}

}  // namespace
}  // namespace sage
