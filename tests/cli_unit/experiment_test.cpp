#include "experiments/engine/experiment.h"

#include "core/pipeline/pipeline_config.h"
#include "tests/cli_unit/helpers.h"

namespace sage {
namespace {

class ExperimentTest : public ExperimentFiles {
 protected:
  Experiment load(const std::string& text, const std::vector<std::string>& set = {}) {
    return resolve_experiment(file("x.yaml", text), set, registries_);
  }
  std::string fails(const std::string& text, const std::vector<std::string>& set = {}) {
    return error([&] { load(text, set); });
  }
  static std::string at(const Experiment& e, const std::string& path) {
    const Value* v = e.resolved.find_path(path);
    return v == nullptr ? "absent" : canonical_json(*v);
  }
};

const char* kMinimal = "pipeline:\n  quantizer: {type: uniform, bits: 3}\n";

TEST_F(ExperimentTest, DefaultsAreFilledIn) {
  const Experiment e = load(kMinimal);
  EXPECT_EQ(e.name, "x");
  EXPECT_EQ(e.label, "x");
  EXPECT_EQ(e.model_path, "default");
  ASSERT_EQ(e.eval.size(), 1u);
  EXPECT_EQ(e.eval[0].protocol, "gptq-2048");
  EXPECT_EQ(at(e, "pipeline.quantizer.bits"), "3");
  EXPECT_EQ(at(e, "pipeline.quantizer.group_size"), "0");
  EXPECT_EQ(at(e, "pipeline.saliency.type"), "\"none\"");
  EXPECT_EQ(at(e, "pipeline.coder.signs.type"), "\"raw\"");
  EXPECT_EQ(at(e, "pipeline.numerics"), "\"packed\"");
  EXPECT_EQ(at(e, "pipeline.alternatives"), "[]");
  EXPECT_TRUE(e.selects("anything"));
  // Origins: what was written keeps its place, a default has none.
  EXPECT_EQ(e.resolved.find_path("pipeline.quantizer.bits")->where().line, 2);
  EXPECT_EQ(e.resolved.find_path("pipeline.quantizer.group_size")->where().line, 0);
}

TEST_F(ExperimentTest, ResolvedReadsBackEqual) {
  for (const char* preset : {"rtn", "sage_paper", "sage_honest"}) {
    const Experiment once = resolve_experiment(preset, {}, registries_);
    const Experiment twice = resolve(parse_yaml(to_yaml(once.resolved), "again"), "again", registries_);
    EXPECT_EQ(canonical_json(twice.resolved), canonical_json(once.resolved)) << preset;
    EXPECT_EQ(canonical_json(canonical_pipeline(once.pipeline, registries_)), canonical_json(once.pipeline));
  }
}

TEST_F(ExperimentTest, IdentityHasNoNamesOrPaths) {
  const std::string pipeline = kMinimal;
  const Experiment a = load("name: a\nabout: x\nmodel: {path: /m/a}\neval: [{text: /t/a}]\n" + pipeline);
  const Experiment b = load("label: b\nmodel: {path: /m/b}\neval: [{text: /t/b}]\n" + pipeline);
  EXPECT_EQ(canonical_json(identity(a)), canonical_json(identity(b)));
  const Experiment c = load(pipeline, {"seed=1"});
  EXPECT_NE(canonical_json(identity(a)), canonical_json(identity(c)));
}

TEST_F(ExperimentTest, UnknownKeysAnywhere) {
  EXPECT_EQ(
      fails("modle: {path: x}\npipeline: none\n"),
      "x.yaml:1:1: unknown key 'modle' in the experiment; expected one of: name, label, about, seed, include, exclude, trace, "
      "keep_packed, model, eval, calibration, pipeline, extends, sweep; did you mean 'model'?");
  EXPECT_EQ(fails("pipeline: none\nmodel: {pth: x}\n"),
            "x.yaml:2:9: unknown key 'pth' in model; expected one of: path; did you mean 'path'?");
  EXPECT_EQ(fails("pipeline: none\neval:\n  - {protocol: gptq-2048, window: 4}\n"),
            "x.yaml:3:27: unknown key 'window' in eval; expected one of: protocol, text, windows, kl; did you mean 'windows'?");
  EXPECT_TRUE(has(fails("pipeline: {quantizer: uniform, salency: none}\n"),
                  "x.yaml:1:32: unknown key 'salency' in pipeline; expected one of: "));
  EXPECT_TRUE(has(fails("pipeline: {quantizer: uniform, salency: none}\n"), "; did you mean 'saliency'?"));
  EXPECT_TRUE(has(fails("pipeline:\n  quantizer: {type: uniform, bit: 3}\n"),
                  "x.yaml:2:30: unknown key 'bit' in pipeline.quantizer (uniform); expected one of: bits, "));
  EXPECT_EQ(fails("pipeline: {quantizer: uniform, coder: {code: raw}}\n"),
            "x.yaml:1:40: unknown key 'code' in pipeline.coder; expected one of: salient_index, group_index, codes, signs; did "
            "you mean "
            "'codes'?");
}

TEST_F(ExperimentTest, WrongComponentsAndValues) {
  EXPECT_TRUE(has(fails("pipeline:\n  quantizer: {type: unifrom}\n"),
                  "x.yaml:2:21: unknown quantizer 'unifrom' in pipeline.quantizer; expected one of: "));
  EXPECT_TRUE(has(fails("pipeline:\n  quantizer: {type: unifrom}\n"), "did you mean 'uniform'?"));
  EXPECT_TRUE(has(fails("pipeline:\n  grouping: single\n"), "x.yaml:2:3: pipeline has no 'quantizer'"));
  EXPECT_EQ(fails("name: a\n"),
            "x.yaml:1:1: no pipeline; expected `pipeline: {...}`, `extends: PRESET`, or `pipeline: none` for full precision");
  EXPECT_EQ(fails("pipeline: {quantizer: uniform, numerics: pakced}\n"),
            "x.yaml:1:42: found 'pakced' for numerics; expected one of: packed, reference; did you mean 'packed'?");
  EXPECT_TRUE(has(fails("pipeline: [a]\n"), "x.yaml:1:11: pipeline is not a map"));
  EXPECT_TRUE(has(fails("pipeline: none\neval: [{protocol: gtpq-2048}]\n"), "x.yaml:2:19: eval: "))
      << fails("pipeline: none\neval: [{protocol: gtpq-2048}]\n");
  EXPECT_EQ(fails("- a\n"), "x.yaml:1:1: not an experiment; expected a map with keys such as name, extends, pipeline");
  // Constructors that refuse a combination of parameters say where it is written.
  EXPECT_TRUE(has(fails("pipeline:\n  quantizer: uniform\n  threshold: {type: fixed, objective: budget}\n"),
                  "x.yaml:3:14: pipeline.threshold: "))
      << fails("pipeline:\n  quantizer: uniform\n  threshold: {type: fixed, objective: budget}\n");
}

TEST_F(ExperimentTest, CodersMustSuitTheirPlane) {
  const std::string index = fails("pipeline:\n  quantizer: uniform\n  coder: {salient_index: raw}\n");
  EXPECT_TRUE(
      has(index, "x.yaml:3:26: the coder 'raw' cannot write positions (pipeline.coder.salient_index); expected one of: "))
      << index;
  EXPECT_TRUE(has(index, "bitmap"));
  const std::string codes = fails("pipeline:\n  quantizer: uniform\n  coder: {codes: bitmap}\n");
  EXPECT_TRUE(has(codes, "x.yaml:3:18: the coder 'bitmap' cannot write symbols (pipeline.coder.codes); expected one of: raw"))
      << codes;
}

TEST_F(ExperimentTest, ThresholdUnitMustSuitTheSaliency) {
  const std::string text = "pipeline:\n  quantizer: binary\n  threshold: {type: fixed, sigmas: 2}\n  saliency: ";
  EXPECT_EQ(fails(text + "sigma\n"), "no error");
  EXPECT_TRUE(has(fails(text + "magnitude\n"), "x.yaml:3:14: the threshold 'fixed' gives a number of standard deviations"));
  EXPECT_EQ(fails(text + "none\n"), "no error");  // nothing is cut
}

TEST_F(ExperimentTest, ExtendsMergesAndReplaces) {
  file("base/common.yaml",
       "name: common\nlabel: common\nseed: 7\nmodel: {path: m}\npipeline:\n  quantizer: {type: uniform, bits: 2}\n  grouping: "
       "{type: kmeans, groups: 4}\n");
  file("base/more.yaml", "extends: common.yaml\neval: [{windows: 2}, {protocol: llamacpp-512}]\n");
  const Experiment e =
      load("extends: base/more.yaml\npipeline: {quantizer: {bits: 3}, grouping: {type: equal_count}}\neval: [{windows: 5}]\n");
  EXPECT_EQ(e.name, "x");
  EXPECT_EQ(e.label, "x");
  EXPECT_EQ(e.seed, 7);
  EXPECT_EQ(e.model_path, (folder_ / "base/m").string());  // relative to the file that says so
  EXPECT_EQ(at(e, "pipeline.quantizer.bits"), "3");
  EXPECT_EQ(at(e, "pipeline.grouping.groups"), "2");  // the default of the new type
  ASSERT_EQ(e.eval.size(), 1u);
  EXPECT_EQ(e.eval[0].windows, 5);
}

TEST_F(ExperimentTest, ExtendsOfSeveralAndOfPresets) {
  file("seed.yaml", "seed: 3\n");
  const Experiment e = load("extends: [rtn, seed.yaml]\n");
  EXPECT_EQ(e.seed, 3);
  EXPECT_EQ(at(e, "pipeline.quantizer.type"), "\"uniform\"");
  EXPECT_EQ(at(e, "pipeline.paper_formula"), "\"claimed_width\"");
  EXPECT_EQ(e.about, "");
}

TEST_F(ExperimentTest, ExtendsErrors) {
  EXPECT_TRUE(
      has(fails("extends: sage_papr\n"), "x.yaml:1:10: extends 'sage_papr': unknown preset 'sage_papr'; expected one of: "));
  EXPECT_TRUE(has(fails("extends: sage_papr\n"), "did you mean 'sage_paper'?"));
  EXPECT_EQ(fails("extends: a/none.yaml\n"), "x.yaml:1:10: extends 'a/none.yaml': no such file: a/none.yaml");
  EXPECT_TRUE(has(fails("extends: x.yaml\n"), "x.yaml: extends itself"));
  file("a.yaml", "extends: b.yaml\n");
  file("b.yaml", "extends: a.yaml\n");
  EXPECT_TRUE(has(fails("extends: a.yaml\n"), "a.yaml: extends itself"));
  EXPECT_TRUE(has(fails("extends: {a: b}\n"), "x.yaml:1:10: found a map for extends"));
  EXPECT_TRUE(has(fails("extends: []\n"), "for extends"));
  EXPECT_TRUE(has(fails("pipeline: none\n", {"extends=rtn"}), "extends cannot be set"));
  for (int i = 0; i < 30; ++i)
    file(fmt::format("c{}.yaml", i), fmt::format("extends: c{}.yaml\n", i + 1));
  EXPECT_TRUE(has(fails("extends: c0.yaml\n"), "chain of more than 16"));
}

TEST_F(ExperimentTest, BareNamesMeanAllDefaults) {
  file("base.yaml", "pipeline:\n  quantizer: uniform\n  grouping: {type: kmeans, groups: 4}\n");
  EXPECT_EQ(at(load("extends: base.yaml\npipeline: {grouping: kmeans}\n"), "pipeline.grouping.groups"), "2");
  EXPECT_EQ(at(load("extends: base.yaml\npipeline: {quantizer: {bits: 7}}\n"), "pipeline.quantizer.bits"), "7");
  EXPECT_TRUE(is_full_precision(load("extends: base.yaml\npipeline: none\n").pipeline));
}

TEST_F(ExperimentTest, OverridesInAnyOrder) {
  const std::string text = "extends: sage_paper\n";
  const Experiment a = load(text, {"pipeline.grouping.type=kmeans", "pipeline.grouping.groups=6"});
  const Experiment b = load(text, {"pipeline.grouping.groups=6", "pipeline.grouping.type=kmeans"});
  EXPECT_EQ(at(a, "pipeline.grouping.groups"), "6");
  EXPECT_EQ(canonical_json(a.resolved), canonical_json(b.resolved));
  EXPECT_EQ(at(load(text, {"pipeline.saliency=none"}), "pipeline.saliency.type"), "\"none\"");
  EXPECT_EQ(at(load(text, {"seed=1", "seed=2"}), "seed"), "2");
  EXPECT_EQ(at(load(text, {"pipeline.coder.codes=range"}), "pipeline.coder.codes.type"), "\"range\"");
  EXPECT_EQ(load(text, {"model.path=rel/model"}).model_path, "rel/model");  // of the working folder
  EXPECT_EQ(a.resolved.find_path("pipeline.grouping.groups")->where().str(), "--set pipeline.grouping.groups=6");
}

TEST_F(ExperimentTest, OverrideErrorsNameTheOption) {
  EXPECT_TRUE(has(fails("extends: rtn\n", {"pipeline.quantizer.bits=99"}),
                  "--set pipeline.quantizer.bits=99: found '99' for bits; expected 1 .. 8"));
  EXPECT_TRUE(has(fails("extends: rtn\n", {"pipeline.quantizer.bit=4"}), "--set pipeline.quantizer.bit=4: unknown key 'bit'"));
  EXPECT_TRUE(
      has(fails("extends: rtn\n", {"pipelin.quantizer.bits=4"}), "--set pipelin.quantizer.bits=4: unknown key 'pipelin'"));
  EXPECT_TRUE(has(fails("pipeline: none\n", {"pipeline.quantizer.bits=4"}), "because pipeline is 'none' (x.yaml:1:11)"));
}

TEST_F(ExperimentTest, AlternativesBecomeWholeSlots) {
  const Experiment e = load(
      "extends: sage_paper\npipeline:\n  alternatives:\n"
      "    - {}\n"
      "    - {salient_quantizer.bits: 2}\n"
      "    - {grouping: single, salient_quantizer: {bits: 3, grid: offset}}\n"
      "    - {salient_quantizer.bits: 4}\n");  // the same as the first
  const std::vector<Value> variants = pipeline_variants(e.pipeline);
  ASSERT_EQ(variants.size(), 3u);
  EXPECT_EQ(canonical_json(*variants[0].find_path("salient_quantizer.bits")), "4");
  EXPECT_EQ(canonical_json(*variants[1].find_path("salient_quantizer.bits")), "2");
  EXPECT_EQ(canonical_json(*variants[1].find_path("grouping.type")), "\"spectral\"");
  EXPECT_EQ(canonical_json(*variants[2].find("grouping")), R"({"type":"single"})");
  EXPECT_EQ(canonical_json(*variants[2].find_path("salient_quantizer.grid")), "\"offset\"");
  for (const Value& v : variants) {
    EXPECT_EQ(v.find("alternatives"), nullptr);
    Value again = canonical_pipeline(v, registries_);  // each is a complete pipeline
    again.erase("alternatives");
    EXPECT_EQ(canonical_json(again), canonical_json(v));
  }
  EXPECT_EQ(pipeline_variants(load(kMinimal).pipeline).size(), 1u);
}

TEST_F(ExperimentTest, AlternativesGridAndErrors) {
  const std::string head = "extends: sage_paper\npipeline:\n  alternatives: ";
  EXPECT_EQ(
      pipeline_variants(
          load(head + "{list: [{grouping: single}, {grouping: kmeans}], grid: {salient_quantizer.bits: [2, 3, 4]}}\n").pipeline)
          .size(),
      6u);
  EXPECT_TRUE(has(fails(head + "3\n"), "x.yaml:3:17: pipeline.alternatives is neither a list nor a map"));
  EXPECT_TRUE(has(fails(head + "{gird: {}}\n"),
                  "unknown key 'gird' in pipeline.alternatives; expected one of: list, grid; did you mean 'grid'?"));
  EXPECT_TRUE(has(fails(head + "{grid: {salient_quantizer.bits: 3}}\n"), "is not a list with values"));
  EXPECT_TRUE(has(fails(head + "[3]\n"), "x.yaml:3:18: an entry of pipeline.alternatives is not a map"));
  EXPECT_TRUE(has(fails(head + "[{numerics: reference}]\n"), "'numerics' inside pipeline.alternatives"));
  EXPECT_TRUE(has(fails(head + "[{alternatives: []}]\n"), "'alternatives' inside pipeline.alternatives"));
  EXPECT_TRUE(has(fails(head + "[{salient_quantizer.bist: 3}]\n"), "unknown key 'bist'"));
  EXPECT_TRUE(has(fails(head + "{grid: {salient_quantizer.bits: [2,3,4,5,6,7,8], pipeline.x: [" +
                        [] {
                          std::string many;
                          for (int i = 0; i < 100; ++i)
                            many += "1,";
                          return many;
                        }() +
                        "]}}\n"),
                  "more than 256 pipeline.alternatives"));
}

TEST_F(ExperimentTest, IncludeAndExcludeGlobs) {
  const Experiment e = load("include: ['*.mlp.*', '*.q_proj.weight']\nexclude: ['model.layers.0.*']\n" + std::string(kMinimal));
  EXPECT_TRUE(e.selects("model.layers.3.mlp.up_proj.weight"));
  EXPECT_TRUE(e.selects("model.layers.3.self_attn.q_proj.weight"));
  EXPECT_FALSE(e.selects("model.layers.3.self_attn.k_proj.weight"));
  EXPECT_FALSE(e.selects("model.layers.0.mlp.up_proj.weight"));
}

TEST_F(ExperimentTest, PresetsFromTheEnvironmentComeFirst) {
  file("mine/rtn.yaml", "about: Mine.\npipeline: {quantizer: {type: uniform, bits: 7}}\n");
  file("mine/broken.yaml", "about: [\n");
  setenv("SAGEPTQ_PRESETS", (folder_ / "mine").c_str(), 1);
  const auto presets = list_presets();
  const Experiment e = resolve_experiment("rtn", {}, registries_);
  unsetenv("SAGEPTQ_PRESETS");
  EXPECT_EQ(at(e, "pipeline.quantizer.bits"), "7");
  bool mine = false, broken = false, paper = false;
  for (const PresetInfo& p : presets) {
    mine |= p.name == "rtn" && p.about == "Mine.";
    broken |= p.name == "broken" && has(p.about, "cannot be read");
    paper |= p.name == "sage_paper";
  }
  EXPECT_TRUE(mine);
  EXPECT_TRUE(broken);
  EXPECT_TRUE(paper);
  EXPECT_TRUE(has(error([] { find_preset("../presets/rtn"); }), "unknown preset"));
}

TEST_F(ExperimentTest, MissingFileIsAMissingResource) {
  try {
    load_experiment((folder_ / "none.yaml").string(), {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kMissingResource);
  }
}

TEST_F(ExperimentTest, RunRefusesASweep) {
  EXPECT_TRUE(has(fails("extends: rtn\nsweep: {grid: {seed: [1, 2]}}\n"), "x.yaml:2:1: this experiment has a sweep"));
}

}  // namespace
}  // namespace sage
