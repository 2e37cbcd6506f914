// What decides a packed file is in its fingerprint, and nothing made under another one is taken up.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/pipeline/engine_version.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/errors.h"
#include "strategies/saliency/none.h"
#include "tests/pipeline/calibrated.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using test::draw;
using test::factory;

constexpr const char* kRtn = "{saliency: none, quantizer: {type: uniform, bits: 3}}";
constexpr const char* kGptq = "{saliency: none, quantizer: {type: uniform, bits: 3}, compensator: gptq, segment_columns: 16, block_columns: 32}";

// The shipped components, one of them at its next version.
struct NewerNoSaliency final : public SaliencyFilter {
  using Params = NoSaliency::Params;
  static constexpr auto kName = NoSaliency::kName;
  static constexpr int kVersion = NoSaliency::kVersion + 1;
  static constexpr auto kDoc = NoSaliency::kDoc;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit NewerNoSaliency(Params) {}
  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override { return same_.score(ctx); }
  bool never_selects() const override { return true; }
  bool supports(Cut::Unit) const override { return true; }
  MaskShape mask_shape() const override { return MaskShape::kNone; }

 private:
  NoSaliency same_{{}};
};
const Registries& newer_registries() {
  static const Registries* const r = [] {
    auto* all = new Registries;
    register_builtin(*all);
    all->saliency = Registry<SaliencyFilter>("saliency");
    all->saliency.add<NewerNoSaliency>();
    return all;
  }();
  return *r;
}

class Identity : public testing::Test {
 protected:
  Identity() { setenv("SAGEPTQ_CACHE", folder_.file("cache").c_str(), 1); }
  ~Identity() override { unsetenv("SAGEPTQ_CACHE"); }

  // What a job is made of; each test changes one.
  struct Parts {
    std::string model = model_folder("llama_mha");
    std::string pipeline = kGptq;
    uint64_t seed = 1;
    const Registries* registries = &test::registries();
    const Backend* backend = &test::cpu();
    std::function<bool(const std::string&)> selects;
    CalibrationConfig calibration = [] {
      CalibrationConfig c;
      c.samples = 4;
      c.length_tokens = 16;
      return c;
    }();
    std::string text = "the text";
    std::string out = "out", run_key = "a", build;
    bool trace = false;
    std::function<void(const MatrixReport&, const Trace&)> observe;
  };
  template <class F>
  auto with_job(const Parts& p, F use) const {
    const CheckpointSource source(p.model);
    const PipelineFactory f(canonical_pipeline(parse_yaml(p.pipeline, "test"), *p.registries), *p.registries);
    CalibrationJob calibration{draw(source.config().vocab_size, p.calibration.samples, p.calibration.length_tokens, static_cast<uint64_t>(p.calibration.seed)),
                               p.calibration};
    calibration.samples.digest += p.text;
    return use(QuantizeModelJob{source, f, *p.registries, *p.backend, p.seed, folder_.file(p.out), p.run_key, p.trace, p.selects, p.observe, &calibration, p.build});
  }
  std::string fingerprint(const Parts& p) const { return with_job(p, quantization_fingerprint); }
  std::string text(const Parts& p) const { return with_job(p, fingerprint_text); }
  // The bytes of the packed file.
  std::string quantize(const Parts& p) const {
    with_job(p, quantize_model);
    return read_file(folder_.file(p.out) + "/model.safetensors");
  }
  // llama_mha with an edited config.json, or other files.
  std::string edited_model(const std::string& name, const std::function<void(json&)>& edit, const std::map<std::string, std::string>& files = {}) const {
    fs::copy(model_folder("llama_mha"), folder_.file(name), fs::copy_options::recursive);
    json config = json::parse(slurp(folder_.file(name) + "/config.json"));
    edit(config);
    folder_.write(name + "/config.json", config.dump());
    for (const auto& [file, bytes] : files) folder_.write(name + "/" + file, bytes);
    return folder_.file(name);
  }
  // Stops behind the first block, which leaves its file in OUT.work.
  void leave_first_block(Parts p) const {
    size_t seen = 0;
    p.observe = [&seen](const MatrixReport&, const Trace&) {
      if (++seen == 8) throw std::runtime_error("stopped");
    };
    EXPECT_THROW(quantize(p), std::runtime_error);
    EXPECT_TRUE(fs::exists(folder_.file(p.out) + ".work/layer_0000.safetensors"));
  }
  // Matrices quantized, not taken over from a former call.
  size_t made(Parts p) const {
    size_t n = 0;
    p.observe = [&n](const MatrixReport&, const Trace&) { ++n; };
    quantize(p);
    return n;
  }

  TemporaryFolder folder_;
};

TEST_F(Identity, EveryIngredientIsInTheFingerprint) {
  static const std::unique_ptr<Backend> reference = make_backend("reference");
  const std::vector<std::pair<const char*, std::function<void(Parts&)>>> edits = {
      {"weights", [](Parts& p) { p.model = model_folder("llama_rope_linear"); }},
      {"a value of config.json", [&](Parts& p) { p.model = edited_model("theta", [](json& c) { c["rope_theta"] = 100.0; }); }},
      {"the tokenizer", [&](Parts& p) { p.model = edited_model("tokens", [](json&) {}, {{"tokenizer.json", "{}"}}); }},
      {"seed", [](Parts& p) { p.seed = 2; }},
      {"parameter", [](Parts& p) { p.pipeline = "{saliency: none, quantizer: {type: uniform, bits: 4}, compensator: gptq, segment_columns: 16, block_columns: 32}"; }},
      {"component", [](Parts& p) { p.pipeline = "{saliency: none, quantizer: {type: uniform, bits: 3}, compensator: block, segment_columns: 16, block_columns: 32}"; }},
      {"scope", [](Parts& p) { p.pipeline = "{saliency: none, quantizer: {type: uniform, bits: 3}, compensator: gptq, segment_columns: 32, block_columns: 32}"; }},
      {"numerics", [](Parts& p) { p.pipeline = "{numerics: reference, saliency: none, quantizer: {type: uniform, bits: 3}, compensator: gptq, segment_columns: 16, block_columns: 32}"; }},
      {"component version", [](Parts& p) { p.registries = &newer_registries(); }},
      {"backend", [](Parts& p) { p.backend = reference.get(); }},
      {"a matrix left out", [](Parts& p) { p.selects = [](const std::string& name) { return name.find("layers.1.mlp.down") == std::string::npos; }; }},
      {"number of samples", [](Parts& p) { p.calibration.samples = 5; }},
      {"their length", [](Parts& p) { p.calibration.length_tokens = 17; }},
      {"their seed", [](Parts& p) { p.calibration.seed = 1; }},
      {"their text", [](Parts& p) { p.text = "another text"; }},
      {"propagation", [](Parts& p) { p.calibration.propagation = Propagation::kOriginal; }},
      {"layer order", [](Parts& p) { p.calibration.layer_order = LayerOrder::kSequential; }},
      {"precision of Grams", [](Parts& p) { p.calibration.gram = GramPrecision::kFp64; }},
      {"damping", [](Parts& p) { p.calibration.percdamp = 0.02; }},
      {"most damping", [](Parts& p) { p.calibration.max_percdamp = 0.5; }},
  };
  std::map<std::string, std::string> seen = {{fingerprint({}), "as it is"}};
  for (const auto& [what, edit] : edits) {
    Parts p;
    edit(p);
    const auto [it, fresh] = seen.emplace(fingerprint(p), what);
    EXPECT_TRUE(fresh) << what << " is taken for: " << it->second << "\n" << text(p);
  }
}

TEST_F(Identity, WhatDecidesNothingIsNotInTheFingerprint) {
  const std::vector<std::pair<const char*, std::function<void(Parts&)>>> edits = {
      {"the place of the model", [&](Parts& p) { p.model = edited_model("copy", [](json&) {}); }},
      {"torch_dtype", [&](Parts& p) { p.model = edited_model("dtype", [](json& c) { c["torch_dtype"] = "bfloat16", c["use_cache"] = false; }); }},
      {"the folder to make", [](Parts& p) { p.out = "elsewhere"; }},
      {"the run's key", [](Parts& p) { p.run_key = std::string("another"); }},
      {"the build", [](Parts& p) { p.build = "another"; }},
      {"traces", [](Parts& p) { p.trace = true; }},
      {"budget of the cache", [](Parts& p) { p.calibration.cache_bytes = 0; }},
      {"place of hidden states", [](Parts& p) { p.calibration.hidden_states_bytes = 0; }},
  };
  for (const auto& [what, edit] : edits) {
    Parts p;
    edit(p);
    EXPECT_EQ(fingerprint(p), fingerprint({})) << what << "\n" << text(p) << text({});
  }
  // Calibration of a pipeline that does not calibrate.
  Parts a, b;
  a.pipeline = b.pipeline = kRtn;
  b.calibration.samples = 5;
  EXPECT_EQ(fingerprint(a), fingerprint(b));
}

TEST_F(Identity, TheFingerprintHoldsTheVersionsOfFormatAndEngine) {
  EXPECT_TRUE(text({}).starts_with(fmt::format("fingerprint 2\nformat {}\nengine {}\nbackend cpu\n", kPackedFormat, kEngineVersion))) << text({});
}

TEST_F(Identity, LayersOfAnotherRecipeAreMadeAgain) {
  const std::vector<std::pair<const char*, std::function<void(Parts&)>>> others = {
      {"seed", [](Parts& p) { p.seed = 2; }},
      {"bits", [](Parts& p) { p.pipeline = "{saliency: none, quantizer: {type: uniform, bits: 4}}"; }},
      {"model", [&](Parts& p) { p.model = edited_model("eps", [](json& c) { c["rms_norm_eps"] = 0.05; }); }},
      {"build", [](Parts& p) { p.build = "another"; }},
  };
  Parts mine;
  mine.pipeline = kRtn;
  mine.out = "whole";
  const std::string whole = quantize(mine);
  for (const auto& [what, edit] : others) {
    SCOPED_TRACE(what);
    Parts other = mine;
    other.out = mine.out = std::string("behind ") + what;
    edit(other);
    leave_first_block(other);
    EXPECT_EQ(made(mine), 14u);
    EXPECT_EQ(read_file(folder_.file(mine.out) + "/model.safetensors"), whole);
  }
  // The same recipe goes on where it stopped.
  mine.out = "behind itself";
  leave_first_block(mine);
  EXPECT_EQ(made(mine), 7u);
  EXPECT_EQ(read_file(folder_.file(mine.out) + "/model.safetensors"), whole);
}

TEST_F(Identity, GramsBehindQuantizedLayersOfAnotherBuildAreCollectedAgain) {
  const auto grams = [&] {
    const std::string folder = folder_.file("cache/grams");
    return fs::exists(folder) ? std::distance(fs::directory_iterator(folder), fs::directory_iterator()) : 0;
  };
  Parts p;
  p.build = "one";
  p.out = "one";
  const std::string whole = quantize(p);
  const auto before = grams();
  p.build = "two";
  p.out = "two";
  EXPECT_EQ(quantize(p), whole);
  EXPECT_EQ(grams(), before + before / 2) << "those of the first block are the original model's, whatever the build";
}

// A packed folder is a model, too: its planes alone do not say what they decode to, nor what is computed with them.
TEST_F(Identity, APackedFolderIsItsPlanesItsRecipeAndItsConfig) {
  Parts p;
  p.pipeline = kRtn;
  quantize(p);
  const std::string folder = folder_.file("out");
  const auto digest = [&](const Registries& r) { return PackedSource(folder, r, test::cpu()).digest(); };
  const auto edit = [&](const std::function<void(json&)>& change) {
    json config = json::parse(slurp(folder + "/config.json"));
    const std::string before = config.dump();
    change(config);
    EXPECT_NE(config.dump(), before);
    folder_.write("out/config.json", config.dump(2));
    const std::string changed = digest(test::registries());
    folder_.write("out/config.json", before);
    return changed;
  };
  const std::string own = digest(test::registries());
  std::set<std::string> seen = {own};
  EXPECT_TRUE(seen.insert(edit([](json& c) { c["rope_theta"] = 100.0; })).second) << "rope_theta";
  EXPECT_TRUE(seen.insert(edit([](json& c) { c["rms_norm_eps"] = 0.05; })).second) << "rms_norm_eps";
  EXPECT_TRUE(seen.insert(edit([](json& c) { c["quantization_config"]["pipeline"]["quantizer"]["symmetric"] = true; })).second) << "recipe";
  EXPECT_TRUE(seen.insert(digest(newer_registries())).second) << "component version";
  EXPECT_EQ(edit([](json& c) { c["torch_dtype"] = "float64"; }), own);
  EXPECT_EQ(edit([](json& c) { c["quantization_config"]["run_key"] = "another"; }), own);
  folder_.write("out/tokenizer.json", "{}");
  EXPECT_TRUE(seen.insert(digest(test::registries())).second) << "tokenizer";
}

}  // namespace
}  // namespace sage
