// What decides a run's numbers is in its key, and nothing else.
#include <gtest/gtest.h>

#include <map>

#include "core/pipeline/engine_version.h"
#include "core/util/files.h"
#include "experiments/engine/runner.h"
#include "strategies/saliency/none.h"
#include "tests/cli_unit/helpers.h"

namespace sage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kData = SAGE_TEST_DATA "/identity";

// The shipped component at its next version.
struct NewerNoSaliency final : public SaliencyFilter {
  using Params = NoSaliency::Params;
  static constexpr auto kName = NoSaliency::kName;
  static constexpr int kVersion = NoSaliency::kVersion + 1;
  static constexpr auto kDoc = NoSaliency::kDoc;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit NewerNoSaliency(Params) {}
  std::unique_ptr<SaliencyScores> score(const BlockContext& ctx) const override { return NoSaliency({}).score(ctx); }
  bool never_selects() const override { return true; }
  bool supports(Cut::Unit) const override { return true; }
  MaskShape mask_shape() const override { return MaskShape::kNone; }
};

class RunKey : public ExperimentFiles {
 protected:
  void SetUp() override {
    ExperimentFiles::SetUp();
    setenv("SAGEPTQ_CACHE", (folder_ / "cache").c_str(), 1);
    fs::copy(std::string(kData) + "/model", folder_ / "model", fs::copy_options::recursive);
    text_ = file("text.txt", read_file(std::string(kData) + "/text.txt"));
  }
  void TearDown() override {
    unsetenv("SAGEPTQ_CACHE");
    ExperimentFiles::TearDown();
  }
  // `gptq`, since everything is part of a calibrated run. A Runner of its own each time, as a new command has.
  std::string text_of(const std::vector<std::string>& overrides, const Registries* registries = nullptr, const std::string& backend = "cpu",
                      const std::string& method = "gptq") {
    std::vector<std::string> all = {"model.path=" + (folder_ / "model").string(),
                                    "calibration.dataset=" + text_,
                                    "calibration.samples=2",
                                    "calibration.length_tokens=16",
                                    "pipeline.saliency.type=none",
                                    "eval=[{text: '" + text_ + "', protocol: gptq-64, windows: 3, kl: true}]"};
    for (const std::string& o : overrides) {
      const std::string path = o.substr(0, o.find('='));
      std::erase_if(all, [&](const std::string& other) { return other.substr(0, other.find('=')) == path; });
      all.push_back(o);
    }
    if (method == "none") std::erase_if(all, [](const std::string& o) { return o.starts_with("pipeline."); });
    const Registries& r = registries == nullptr ? registries_ : *registries;
    const std::string source = method == "none" ? file("none.yaml", "pipeline: none\n") : method;
    Runner runner(r, {(folder_ / "store").string(), backend, {}});
    const Experiment e = resolve_experiment(source, all, r);
    EXPECT_EQ(runner.key_of(e), sha256_hex(runner.key_text(e)));
    return runner.key_text(e);
  }
  void edit_model(const std::string& name, const std::string& from, const std::string& to) {
    const std::string path = (folder_ / "model" / name).string();
    std::string text = read_file(path);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    file("model/" + name, text);
  }
  void restore_model() {
    fs::remove_all(folder_ / "model");
    fs::copy(std::string(kData) + "/model", folder_ / "model", fs::copy_options::recursive);
  }

  std::string text_;
};

TEST_F(RunKey, EveryIngredientIsInIt) {
  std::map<std::string, std::string> seen;
  const auto is_new = [&](const std::string& what, const std::string& text) {
    const auto [it, fresh] = seen.emplace(text, what);
    EXPECT_TRUE(fresh) << what << " is taken for: " << it->second << "\n" << text;
  };
  is_new("as it is", text_of({}));
  const std::string other_text = file("other.txt", read_file(text_) + " and some more words");
  for (const char* o : {"seed=1", "pipeline.quantizer.bits=3", "pipeline.quantizer.type=residual_binary", "pipeline.compensator=block", "pipeline.segment_columns=32",
                        "pipeline.block_columns=64", "pipeline.numerics=reference", "pipeline.paper_formula=nominal", "pipeline.coder.codes=range", "include=[\"*mlp*\"]",
                        "exclude=[\"*mlp*\"]", "calibration.samples=3", "calibration.length_tokens=17", "calibration.seed=1", "calibration.propagation=original",
                        "calibration.layer_order=sequential", "calibration.gram=fp64", "calibration.percdamp=0.02", "calibration.max_percdamp=0.5", "calibration.join=spaces",
                        "calibration.rule=documents_at_least"})
    is_new(o, text_of({o}));
  is_new("text of calibration", text_of({"calibration.dataset=" + other_text}));
  for (const std::string& eval : std::vector<std::string>{"text: '" + other_text + "', protocol: gptq-64, windows: 3, kl: true", "text: '" + text_ + "', protocol: gptq-32, windows: 3, kl: true",
                                 "text: '" + text_ + "', protocol: llamacpp-64, windows: 3, kl: true", "text: '" + text_ + "', protocol: gptq-64, windows: 2, kl: true",
                                 "text: '" + text_ + "', protocol: gptq-64, windows: 3, kl: false"})
    is_new(eval, text_of({"eval=[{" + eval + "}]"}));
  is_new("backend", text_of({}, nullptr, "reference"));
  Registries newer;
  register_builtin(newer);
  newer.saliency = Registry<SaliencyFilter>("saliency");
  newer.saliency.add<NewerNoSaliency>();
  is_new("component version", text_of({}, &newer));
  is_new("full precision", text_of({}, nullptr, "cpu", "none"));

  edit_model("config.json", "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0.05");
  is_new("a value of config.json", text_of({}));
  is_new("the same in full precision", text_of({}, nullptr, "cpu", "none"));
  restore_model();
  std::string weights = read_file((folder_ / "model/model.safetensors").string());
  weights[weights.size() - 2] = static_cast<char>(weights[weights.size() - 2] ^ 1);
  file("model/model.safetensors", weights);
  is_new("weights", text_of({}));
  restore_model();
  file("model/special_tokens_map.json", "{\"eos_token\": \"</s>\"}");
  is_new("special tokens", text_of({}));
}

TEST_F(RunKey, WhatDecidesNothingIsNotInIt) {
  const std::string as_it_is = text_of({});
  for (const char* o : {"name=another", "label=another", "about=Another.", "calibration.cache_bytes=0", "calibration.hidden_states_bytes=0"})
    EXPECT_EQ(text_of({o}), as_it_is) << o;
  const std::string copy = file("elsewhere/words.txt", read_file(text_));
  EXPECT_EQ(text_of({"calibration.dataset=" + copy, "eval=[{text: '" + copy + "', protocol: gptq-64, windows: 3, kl: true}]"}), as_it_is);
  fs::copy(folder_ / "model", folder_ / "moved", fs::copy_options::recursive);
  EXPECT_EQ(text_of({"model.path=" + (folder_ / "moved").string()}), as_it_is);
  edit_model("config.json", "\"torch_dtype\": \"float16\"",
             "\"torch_dtype\": \"bfloat16\", \"transformers_version\": \"9\", \"_name_or_path\": \"x\", \"use_cache\": false");
  EXPECT_EQ(text_of({}), as_it_is);
}

TEST_F(RunKey, BeginsWithItsSchemeAndHoldsTheEngine) {
  EXPECT_TRUE(text_of({}).starts_with(fmt::format("identity {}\n", kRunIdentity))) << "keys of another scheme must never be equal";
  EXPECT_TRUE(has(text_of({}), fmt::format("\nengine {}\n", kEngineVersion)));
}

}  // namespace
}  // namespace sage
