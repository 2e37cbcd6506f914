// OPT: its two tables, the switches of its config.json, and the spellings its checkpoints come in. Numbers come from
// transformers (parity_test.cpp); here a switch is held against the same model written without it.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/model/checkpoint.h"
#include "core/model/forward.h"
#include "core/model/parity.h"
#include "core/model/synthetic.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "kernels/backends.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

using Tensors = std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>>;

ModelConfig read(const std::string& model, const nlohmann::json& changes = {}) {
  nlohmann::json json = nlohmann::json::parse(slurp(model_folder(model) + "/config.json"));
  if (!changes.is_null()) json.merge_patch(changes);
  return parse_model_config(json.dump(), "config.json");
}

// A copy of a fixture with changed config and tensors, all F32.
void write_changed(const TemporaryFolder& dir, const std::string& model, const nlohmann::json& changes,
                   const std::function<void(Tensors&)>& edit = {}) {
  const SafetensorsFile file(model_folder(model) + "/model.safetensors");
  Tensors tensors;
  for (const TensorInfo& t : file.tensors()) {
    const std::vector<double> values = file.load_doubles(t.name);
    tensors[t.name] = {t.shape, {values.begin(), values.end()}};
  }
  if (edit) edit(tensors);
  SafetensorsWriter w;
  for (const auto& [name, t] : tensors)
    w.add(name, DType::kF32, t.first, std::as_bytes(std::span(t.second)));
  w.write(dir.file("model.safetensors"));
  dir.write("config.json", read(model, changes).json);
}

// What the head reads, for 3 sequences of 16.
Matrix states_of(const WeightSource& source, const std::string& backend_name = "reference") {
  const Family& family = find_family(source.config());
  check_tensors(family, source);
  const auto backend = make_backend(backend_name);
  std::vector<int32_t> ids(3 * 16);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(i * 37 % 320);
  Workspace workspace(*backend);
  Matrix hidden = embed(family, source, ids, 16, *backend);
  for (int layer = 0; layer < source.config().layers; ++layer)
    forward_block(family, source.config(), load_block(family, source, layer), hidden.view(), 16, *backend, workspace);
  return Matrix::copy(finish(family, source.config(), load_final(family, source), hidden.view(), *backend, workspace));
}

double largest_difference(const Matrix& a, const Matrix& b) {
  EXPECT_TRUE(a.rows() == b.rows() && a.cols() == b.cols());
  double d = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    d = std::max(d, static_cast<double>(std::abs(a.data()[i] - b.data()[i])));
  return d;
}

bool ends(const std::string& name, const char* suffix) { return name.ends_with(suffix); }
bool is_norm(const std::string& name) { return name.find("layer_norm") != std::string::npos; }

TEST(OptFamily, IsRecognisedByItsConfig) {
  EXPECT_EQ(find_family(read("opt")).name, "opt");
  EXPECT_EQ(find_family(read("opt_350m_style")).name, "opt-post-norm");
  EXPECT_EQ(find_family(read("opt", {{"do_layer_norm_before", nullptr}})).name, "opt");
  EXPECT_EQ(find_family(read("opt", {{"model_type", nullptr}})).name, "opt");
  EXPECT_EQ(find_family(read("opt_350m_style", {{"model_type", nullptr}})).name, "opt-post-norm");
  // Without rotary embeddings a head may be odd.
  EXPECT_EQ(find_family(read("opt", {{"num_attention_heads", 64}})).name, "opt");
}

TEST(OptFamily, FillsTheDefaultsOfHuggingFace) {
  const ModelConfig c = read("opt", {{"activation_function", nullptr},
                                     {"tie_word_embeddings", nullptr},
                                     {"enable_bias", nullptr},
                                     {"word_embed_proj_dim", nullptr},
                                     {"layer_norm_elementwise_affine", nullptr},
                                     {"_remove_final_layer_norm", nullptr},
                                     {"max_position_embeddings", nullptr}});
  const Family& f = find_family(c);
  EXPECT_TRUE(tied_head(f, c));
  EXPECT_EQ(head_tensor(f, c), "model.decoder.embed_tokens.weight");
  EXPECT_EQ(norm_eps(f, c), 1e-5);
  EXPECT_EQ(c.max_positions, 2048);
  EXPECT_TRUE(has_bias(f.linears[0], c) && has_bias(f.linears[5], c) && has_final_norm(f, c) && !has_projections(c));
  EXPECT_EQ(head_tensor(f, read("opt", {{"tie_word_embeddings", false}})), "lm_head.weight");
}

TEST(OptFamily, ListsSitesInTheOrderOfTheComputation) {
  const ModelConfig c = read("opt");
  const std::vector<LinearSite> sites = linear_sites(find_family(c), c);
  ASSERT_EQ(sites.size(), 12u);
  struct Row {
    std::string name, group;
    int64_t rows, cols;
  };
  const std::vector<Row> rows = {{"self_attn.q_proj", "qkv", 64, 64},
                                 {"self_attn.k_proj", "qkv", 64, 64},
                                 {"self_attn.v_proj", "qkv", 64, 64},
                                 {"self_attn.out_proj", "o", 64, 64},
                                 {"fc1", "up", 144, 64},
                                 {"fc2", "down", 64, 144}};
  for (size_t i = 0; i < sites.size(); ++i) {
    const Row& row = rows[i % 6];
    EXPECT_EQ(sites[i].name, "model.decoder.layers." + std::to_string(i / 6) + "." + row.name + ".weight");
    EXPECT_EQ(sites[i].group, row.group);
    EXPECT_EQ(sites[i].rows, row.rows);
    EXPECT_EQ(sites[i].cols, row.cols);
  }
}

TEST(OptFamily, ExpectsExactlyTheTensorsOfTheCheckpoints) {
  for (const std::string model : {"opt", "opt_350m_style"}) {
    const CheckpointSource source(model_folder(model));
    const Family& family = find_family(source.config());
    std::set<std::string> expected;
    for (const ExpectedTensor& t : expected_tensors(family, source.config()))
      EXPECT_TRUE(expected.insert(t.name).second) << t.name;
    const std::vector<std::string> names = source.names();
    EXPECT_EQ(expected, std::set<std::string>(names.begin(), names.end())) << model;
    EXPECT_NO_THROW(check_tensors(family, source));
  }
}

TEST(OptFamily, RefusesWhatItDoesNotDo) {
  EXPECT_ERROR(ResourceError, find_family(read("opt", {{"activation_function", "gelu_new"}})),
               "config.json: activation_function", "'gelu_new'", "relu or gelu");
  EXPECT_ERROR(ResourceError, find_family(read("llama_mha", {{"word_embed_proj_dim", 32}})), "word_embed_proj_dim", "found 32",
               "hidden_size = 64");
  for (const char* flag : {"enable_bias", "do_layer_norm_before", "layer_norm_elementwise_affine", "_remove_final_layer_norm"})
    EXPECT_ERROR(ResourceError, read("opt", {{flag, 1}}), flag, "true or false");
  for (const nlohmann::json& width : std::vector<nlohmann::json>{0, -1, "64", int64_t{1} << 40})
    EXPECT_ERROR(ResourceError, read("opt", {{"word_embed_proj_dim", width}}), "word_embed_proj_dim", "an integer in 1 ..");
  EXPECT_ERROR(ResourceError, read("opt", {{"ffn_dim", 0}}), "found 0");
  EXPECT_ERROR(ResourceError, read("opt", {{"activation_function", 3}}), "activation_function", "a text");
}

TEST(OptFamily, ComparesShapesWithTheConfig) {
  const auto refused = [](const std::string& model, const nlohmann::json& changes, const std::vector<std::string>& says,
                          const std::function<void(Tensors&)>& edit = {}) {
    TemporaryFolder dir;
    write_changed(dir, model, changes, edit);
    const CheckpointSource source(dir.path());
    EXPECT_ERROR(ResourceError, check_tensors(find_family(source.config()), source), dir.path(), says[0], says.back());
  };
  refused("opt", {{"max_position_embeddings", 512}}, {"embed_positions.weight", "[258, 64]", "expected [514, 64]"});
  refused("opt", {{"ffn_dim", 145}}, {"fc1.weight", "expected [145, 64]"});
  refused("opt", {{"word_embed_proj_dim", 32}}, {"embed_tokens.weight", "expected [320, 32]"});
  refused("opt_350m_style", {{"word_embed_proj_dim", 64}}, {"embed_tokens.weight", "expected [320, 64]"});
  refused("opt_350m_style", {{"do_layer_norm_before", true}}, {"no tensor 'model.decoder.final_layer_norm.weight'"});
  refused("opt", {{"tie_word_embeddings", false}}, {"no tensor 'lm_head.weight'"});
  for (const std::string lacking : {"model.decoder.layers.1.fc2.bias", "model.decoder.layers.0.self_attn.out_proj.bias",
                                    "model.decoder.layers.1.final_layer_norm.bias", "model.decoder.final_layer_norm.bias",
                                    "model.decoder.embed_positions.weight"})
    refused("opt", {}, {"no tensor '" + lacking + "'"}, [&](Tensors& t) { t.erase(lacking); });
  refused("opt_350m_style", {}, {"no tensor 'model.decoder.project_out.weight'"},
          [](Tensors& t) { t.erase("model.decoder.project_out.weight"); });
  refused("opt", {}, {"fc1.bias", "found shape [143]", "expected [144]"}, [](Tensors& t) {
    t.at("model.decoder.layers.0.fc1.bias") = {{143}, std::vector<float>(143)};
  });
  refused("opt_350m_style", {}, {"project_in.weight", "found shape [32, 64]", "expected [64, 32]"}, [](Tensors& t) {
    t.at("model.decoder.project_in.weight").first = {32, 64};
  });
}

TEST(OptFamily, EmbedsNoPositionBehindItsTable) {
  const CheckpointSource source(model_folder("opt"));
  const Family& family = find_family(source.config());
  const auto backend = make_backend("reference");
  const std::vector<int32_t> ids(257, 5);
  EXPECT_ERROR(UserError, embed(family, source, ids, 257, *backend), "sequences of 257 tokens", "max_position_embeddings = 256",
               "gptq-256");
  EXPECT_NO_THROW(embed(family, source, std::span(ids).first(256), 256, *backend));
  // Rotary families have no table to run out of.
  EXPECT_NO_THROW(check_sequence_length(llama_family(), read("llama_mha"), 1 << 20));
  EXPECT_THROW(embed(family, source, ids, 100, *backend), Error);
  EXPECT_ERROR(ResourceError, embed(family, source, std::vector<int32_t>{320}, 1, *backend), "row 320 of 320");
}

// Row p + 2 of the table is added at position p of every sequence, whatever stands before it.
TEST(OptFamily, EmbeddingAddsTheTablesRows) {
  const CheckpointSource source(model_folder("opt"));
  const SafetensorsFile& file = *source.tensor_files().files()[0];
  const std::vector<double> tokens = file.load_doubles("model.decoder.embed_tokens.weight"),
                            table = file.load_doubles("model.decoder.embed_positions.weight");
  const std::vector<int32_t> ids = {7, 8, 9, 300, 7, 7};
  for (const char* name : {"reference", "cpu"}) {
    const Matrix hidden = embed(find_family(source.config()), source, ids, 3, *make_backend(name));
    for (size_t t = 0; t < 6; ++t)
      for (size_t j = 0; j < 64; ++j)
        ASSERT_EQ(hidden(static_cast<int64_t>(t), static_cast<int64_t>(j)),
                  static_cast<float>(tokens[static_cast<size_t>(ids[t]) * 64 + j] + table[(t % 3 + 2) * 64 + j]));
  }
}

// enable_bias false: as if every bias of a linear layer were zero, whatever the file holds.
TEST(OptFamily, WithoutBiases) {
  TemporaryFolder zero, off, none;
  write_changed(zero, "opt", {}, [](Tensors& tensors) {
    for (auto& [name, t] : tensors)
      if (ends(name, ".bias") && !is_norm(name)) t.second.assign(t.second.size(), 0.0f);
  });
  write_changed(off, "opt", {{"enable_bias", false}});
  write_changed(none, "opt", {{"enable_bias", false}}, [](Tensors& tensors) {
    std::erase_if(tensors, [](const auto& t) { return ends(t.first, ".bias") && !is_norm(t.first); });
  });
  const Matrix expected = states_of(CheckpointSource(zero.path()));
  EXPECT_EQ(largest_difference(expected, states_of(CheckpointSource(off.path()))), 0.0);
  EXPECT_EQ(largest_difference(expected, states_of(CheckpointSource(none.path()))), 0.0);
  EXPECT_GT(largest_difference(expected, states_of(CheckpointSource(model_folder("opt")))), 1e-3);
}

// layer_norm_elementwise_affine false: gains of one and shifts of zero that no file holds.
TEST(OptFamily, NormsWithoutTensors) {
  for (const std::string model : {"opt", "opt_350m_style"}) {
    TemporaryFolder plain, none;
    write_changed(plain, model, {}, [](Tensors& tensors) {
      for (auto& [name, t] : tensors)
        if (is_norm(name)) t.second.assign(t.second.size(), ends(name, ".bias") ? 0.0f : 1.0f);
    });
    write_changed(none, model, {{"layer_norm_elementwise_affine", false}},
                  [](Tensors& tensors) { std::erase_if(tensors, [](const auto& t) { return is_norm(t.first); }); });
    EXPECT_EQ(largest_difference(states_of(CheckpointSource(plain.path())), states_of(CheckpointSource(none.path()))), 0.0)
        << model;
  }
}

// _remove_final_layer_norm: the head reads the stream. Normalising it by hand gives the model with the norm.
TEST(OptFamily, WithoutFinalNorm) {
  TemporaryFolder dir;
  write_changed(dir, "opt", {{"_remove_final_layer_norm", true}}, [](Tensors& tensors) {
    std::erase_if(tensors, [](const auto& t) { return t.first.find("decoder.final_layer_norm") != std::string::npos; });
  });
  const Matrix bare = states_of(CheckpointSource(dir.path()));
  const CheckpointSource whole(model_folder("opt"));
  const Matrix expected = states_of(whole);
  const std::vector<float> gain = whole.load_vector("model.decoder.final_layer_norm.weight"),
                           shift = whole.load_vector("model.decoder.final_layer_norm.bias");
  Matrix normed(bare.rows(), bare.cols());
  for (int64_t i = 0; i < bare.rows(); ++i) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < 64; ++j)
      mean += bare(i, j) / 64.0;
    for (int64_t j = 0; j < 64; ++j)
      variance += (bare(i, j) - mean) * (bare(i, j) - mean) / 64.0;
    for (int64_t j = 0; j < 64; ++j)
      normed(i, j) = static_cast<float>((bare(i, j) - mean) / std::sqrt(variance + 1e-5) * gain[static_cast<size_t>(j)] +
                                        shift[static_cast<size_t>(j)]);
  }
  EXPECT_LT(largest_difference(expected, normed), 1e-5);
  EXPECT_GT(largest_difference(expected, bare), 1e-2);
}

TEST(OptFamily, ObserversSeeEveryGroupOfInputs) {
  for (const std::string model : {"opt", "opt_350m_style"}) {
    const CheckpointSource source(model_folder(model));
    const Family& family = find_family(source.config());
    const auto backend = make_backend("cpu");
    Workspace workspace(*backend);
    Matrix hidden = embed(family, source, std::vector<int32_t>(8, 3), 8, *backend);
    const Matrix before = Matrix::copy(hidden.view());
    std::vector<std::string> groups;
    std::vector<int64_t> widths;
    double first_input = 0;
    forward_block(family, source.config(), load_block(family, source, 0), hidden.view(), 8, *backend, workspace,
                  [&](const std::string& group, WeightView x) {
                    if (groups.empty()) first_input = largest_difference(before, Matrix::copy(x));
                    groups.push_back(group);
                    widths.push_back(x.cols);
                  });
    EXPECT_EQ(groups, (std::vector<std::string>{"qkv", "o", "up", "down"})) << model;
    EXPECT_EQ(widths, (std::vector<int64_t>{64, 64, 64, 144}));
    // With norms after the sums, attention reads the stream itself.
    EXPECT_EQ(first_input == 0.0, model == "opt_350m_style");
  }
}

class OptCheckpoint : public testing::Test {
 protected:
  void SetUp() override { setenv("SAGEPTQ_CACHE", cache_.path().c_str(), 1); }  // for digests
  void TearDown() override { unsetenv("SAGEPTQ_CACHE"); }
  TemporaryFolder cache_;
};

// Saved from the bare decoder: no leading "model.".
TEST_F(OptCheckpoint, OfTheBareDecoderHasTheSameNames) {
  for (const std::string model : {"opt", "opt_350m_style", "llama_mha"}) {
    TemporaryFolder whole, bare;
    write_changed(whole, model, {});
    write_changed(bare, model, {}, [](Tensors& tensors) {
      Tensors renamed;
      for (auto& [name, t] : tensors)
        renamed[name.starts_with("model.") ? name.substr(6) : name] = t;
      tensors = renamed;
    });
    const CheckpointSource a(whole.path()), b(bare.path());
    EXPECT_EQ(a.names(), b.names()) << model;
    EXPECT_EQ(a.digest(), b.digest());
    EXPECT_EQ(largest_difference(states_of(a), states_of(b)), 0.0);
    for (const LinearSite& site : linear_sites(find_family(b.config()), b.config()))
      b.release(site.name);
  }
  // A name that is taken keeps its owner; nothing is lost.
  TemporaryFolder both;
  write_changed(both, "opt", {}, [](Tensors& tensors) {
    Tensors renamed;
    for (auto& [name, t] : tensors)
      renamed[name.substr(6)] = t;
    renamed["model.decoder.layers.0.fc1.bias"] = tensors.at("model.decoder.layers.0.fc1.bias");
    tensors = renamed;
  });
  const CheckpointSource source(both.path());
  EXPECT_TRUE(source.has("decoder.layers.0.fc1.bias") && source.has("model.decoder.layers.0.fc1.bias"));
  EXPECT_NO_THROW(check_tensors(find_family(source.config()), source));
}

TEST(Synthetic, WritesOptShapes) {
  for (const std::string name : {"opt-toy", "opt-toy-post-norm", "opt-toy-gelu"}) {
    TemporaryFolder dir;
    write_synthetic_checkpoint(find_synthetic_shape(name), dir.path(), 1, DType::kF16, 3);
    const CheckpointSource source(dir.path());
    EXPECT_EQ(source.config().layers, 1);
    const Family& family = find_family(source.config());
    EXPECT_EQ(family.norm_before, name != "opt-toy-post-norm");
    EXPECT_EQ(mlp_kind(family, source.config()), name == "opt-toy-gelu" ? MlpKind::kGelu : MlpKind::kRelu);
    EXPECT_NO_THROW(check_tensors(family, source));
    for (float v : source.load_vector("model.decoder.layers.0.final_layer_norm.weight"))
      ASSERT_EQ(v, 1.0f);
    double square = 0;
    for (float v : source.load_vector("model.decoder.layers.0.fc1.bias"))
      square += double{v} * v / 256;
    EXPECT_NEAR(std::sqrt(square), 0.02, 0.005);
  }
  // Parameters of the released checkpoints, the tied head counted once.
  for (const auto& [name, millions] :
       {std::pair{"opt-125m", 125.2}, {"opt-350m", 331.2}, {"opt-1.3b", 1315.8}, {"opt-6.7b", 6658.5}}) {
    const SyntheticShape& s = find_synthetic_shape(name);
    const double width = static_cast<double>(s.embedding_width > 0 ? s.embedding_width : s.hidden),
                 h = static_cast<double>(s.hidden), f = static_cast<double>(s.intermediate);
    const double block = 4 * (h * h + h) + 2 * h * f + f + h + 4 * h;
    const double total = static_cast<double>(s.vocabulary) * width + 2050 * h + static_cast<double>(s.layers) * block +
                         (s.norm_before ? 2 * h : 0) + (width == h ? 0 : 2 * width * h);
    EXPECT_NEAR(total * 1e-6, millions, 0.06) << name;
  }
}

}  // namespace
}  // namespace sage
