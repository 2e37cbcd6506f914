#include "experiments/engine/expand.h"

#include <map>
#include <set>

#include "core/pipeline/pipeline_config.h"
#include "tests/cli_unit/helpers.h"

namespace sage {
namespace {

class ExpandTest : public ExperimentFiles {
 protected:
  Expansion points(const std::string& sweep, const std::vector<std::string>& set = {}) {
    return expand(file("x.yaml", "extends: sage_paper\n" + sweep), set, registries_);
  }
  std::string fails(const std::string& sweep, const std::vector<std::string>& set = {}) {
    return error([&] { points(sweep, set); });
  }
  static std::vector<std::string> labels(const Expansion& e) {
    std::vector<std::string> out;
    for (const Point& p : e.points)
      out.push_back(p.label);
    return out;
  }
  static std::string at(const Point& p, const std::string& path) {
    const Value* v = p.experiment.resolved.find_path(path);
    return v == nullptr ? "absent" : canonical_json(*v);
  }
};
using Labels = std::vector<std::string>;

TEST_F(ExpandTest, WithoutASweepOnePoint) {
  const Expansion e = points("name: only\n");
  ASSERT_EQ(e.points.size(), 1u);
  EXPECT_EQ(e.points[0].label, "only");
  EXPECT_EQ(e.name, "only");
}

TEST_F(ExpandTest, GridIsTheProductWithLabels) {
  const Expansion e = points(
      "sweep:\n  grid:\n"
      "    pipeline.grouping: [{type: kmeans, groups: 2}, {type: kmeans, groups: 4}, single]\n"
      "    seed: [0, 1]\n    pipeline.numerics: [packed]\n");
  EXPECT_EQ(labels(e), (Labels{"grouping=kmeans(2), seed=0", "grouping=kmeans(2), seed=1", "grouping=kmeans(4), seed=0",
                               "grouping=kmeans(4), seed=1", "grouping=single, seed=0", "grouping=single, seed=1"}));
  EXPECT_EQ(at(e.points[3], "pipeline.grouping.groups"), "4");
  EXPECT_EQ(at(e.points[3], "seed"), "1");
  EXPECT_EQ(at(e.points[3], "label"), "\"grouping=kmeans(4), seed=1\"");
  EXPECT_EQ(e.points[3].experiment.label, e.points[3].label);
  std::set<std::string> keys;
  for (const Point& p : e.points)
    keys.insert(p.key);
  EXPECT_EQ(keys.size(), 6u);
}

TEST_F(ExpandTest, LabelsTellApart) {
  EXPECT_EQ(labels(points("sweep: {grid: {pipeline.quantizer.type: [binary, uniform], pipeline.salient_quantizer.type: "
                          "[multibit, uniform]}}\n")),
            (Labels{"quantizer=binary, salient_quantizer=multibit", "quantizer=binary, salient_quantizer=uniform",
                    "quantizer=uniform, salient_quantizer=multibit", "quantizer=uniform, salient_quantizer=uniform"}));
  // The same last part: as much of the path as is needed.
  EXPECT_EQ(labels(points("sweep: {zip: {pipeline.quantizer: [{type: uniform, bits: 2}, {type: uniform, group_size: 2}],"
                          " pipeline.salient_quantizer.bits: [2, 3]}}\n")),
            (Labels{"quantizer=uniform(bits=2), bits=2", "quantizer=uniform(group_size=2), bits=3"}));
  const Expansion e = points(
      "pipeline: {quantizer: uniform}\nsweep: {grid: {pipeline.quantizer.bits: [2, 3], pipeline.salient_quantizer.bits: [2, "
      "3]}}\n");
  EXPECT_EQ(e.points[1].label, "quantizer.bits=2, salient_quantizer.bits=3");
}

TEST_F(ExpandTest, ZipPairsAndDemandsEqualLengths) {
  const Expansion e = points(
      "sweep:\n  zip: {pipeline.salient_quantizer.bits: [2, 3], pipeline.threshold: [{type: fixed, ratio: 0.03}, {type: fixed, "
      "ratio: 0.015}]}\n");
  EXPECT_EQ(labels(e), (Labels{"bits=2, threshold=fixed(0.03)", "bits=3, threshold=fixed(0.015)"}));
  EXPECT_EQ(fails("sweep:\n  zip: {seed: [1, 2], pipeline.block_columns: [0, 64, 128]}\n"),
            "x.yaml:3:47: sweep.zip.pipeline.block_columns has 3 values, seed has 2; expected equal lengths");
}

TEST_F(ExpandTest, ZipTimesGrid) {
  const Expansion e = points(
      "sweep: {zip: {seed: [1, 2], pipeline.block_columns: [64, 128]}, grid: {pipeline.numerics: [packed, reference]}}\n");
  EXPECT_EQ(labels(e), (Labels{"seed=1, block_columns=64, numerics=packed", "seed=1, block_columns=64, numerics=reference",
                               "seed=2, block_columns=128, numerics=packed", "seed=2, block_columns=128, numerics=reference"}));
}

TEST_F(ExpandTest, ListWithPresets) {
  const Expansion e = expand(file("l.yaml",
                                  "seed: 5\nsweep:\n  list:\n    - {name: full precision, pipeline: none}\n"
                                  "    - {name: r3, extends: rtn, pipeline.quantizer.bits: 3}\n"
                                  "    - {name: r3g, extends: rtn, pipeline: {quantizer: {bits: 3, group_size: 64}}}\n"
                                  "    - {extends: sage_paper, pipeline.grouping.groups: 4, seed: 6}\n"),
                             {}, registries_);
  EXPECT_EQ(labels(e), (Labels{"full precision", "r3", "r3g", "extends=sage_paper, groups=4, seed=6"}));
  EXPECT_TRUE(is_full_precision(e.points[0].experiment.pipeline));
  EXPECT_EQ(at(e.points[1], "pipeline.quantizer.bits"), "3");
  EXPECT_EQ(at(e.points[1], "seed"), "5");
  EXPECT_EQ(at(e.points[2], "pipeline.quantizer.group_size"), "64");
  EXPECT_EQ(at(e.points[2], "pipeline.quantizer.type"), "\"uniform\"");
  EXPECT_EQ(at(e.points[3], "pipeline.grouping.groups"), "4");
  EXPECT_EQ(at(e.points[3], "seed"), "6");
  EXPECT_TRUE(e.notes.empty());
}

TEST_F(ExpandTest, APresetOfAnEntryReplacesTheFilesPipelineAndSaysSo) {
  const Expansion e = points("sweep: {list: [{name: a}, {name: b, extends: rtn}]}\n");
  EXPECT_EQ(at(e.points[0], "pipeline.quantizer.type"), "\"binary\"");
  EXPECT_EQ(at(e.points[1], "pipeline.quantizer.type"), "\"uniform\"");
  EXPECT_EQ(at(e.points[1], "pipeline.saliency.type"), "\"none\"");  // nothing of sage_paper is left
  ASSERT_EQ(e.notes.size(), 1u);
  EXPECT_TRUE(has(e.notes[0], "the pipeline comes from 'rtn'"));
}

TEST_F(ExpandTest, EntriesSetTypesBeforeParameters) {
  const Expansion e = points("sweep: {list: [{pipeline.grouping.groups: 5, pipeline.grouping.type: kmeans}]}\n");
  EXPECT_EQ(at(e.points[0], "pipeline.grouping.groups"), "5");
}

TEST_F(ExpandTest, AblateIsABaseAndSingleReplacements) {
  const Expansion e = points(
      "sweep:\n  ablate:\n    no saliency: {pipeline.saliency: none}\n    k-means: {pipeline.grouping: {type: kmeans, groups: "
      "2}}\n");
  EXPECT_EQ(labels(e), (Labels{"base", "no saliency", "k-means"}));
  EXPECT_EQ(at(e.points[0], "pipeline.saliency.type"), "\"sigma\"");
  EXPECT_EQ(at(e.points[1], "pipeline.saliency.type"), "\"none\"");
  EXPECT_EQ(at(e.points[2], "pipeline.saliency.type"), "\"sigma\"");
  EXPECT_EQ(at(e.points[2], "pipeline.grouping.type"), "\"kmeans\"");
  EXPECT_EQ(labels(points("sweep: {ablate: {x: {pipeline.saliency: none}}, grid: {seed: [1, 2]}}\n")),
            (Labels{"base, seed=1", "base, seed=2", "x, seed=1", "x, seed=2"}));
}

TEST_F(ExpandTest, UnionAndExclude) {
  const Expansion e = points(
      "sweep:\n  union:\n    - grid: {seed: [1, 2], pipeline.grouping: [single, {type: kmeans, groups: 3}]}\n"
      "      exclude: [{pipeline.grouping: single, seed: 2.0}]\n"
      "    - list: [{name: fp, pipeline: none}]\n"
      "  exclude: [{seed: 1, pipeline.grouping: {groups: 3}}, {seed: 77}]\n");
  EXPECT_EQ(labels(e), (Labels{"seed=1, grouping=single", "seed=2, grouping=kmeans(3)", "fp"}));
  ASSERT_EQ(e.notes.size(), 1u);
  EXPECT_TRUE(has(e.notes[0], "x.yaml:7:56: this entry of sweep.exclude matches no point")) << e.notes[0];
  EXPECT_TRUE(has(fails("sweep: {grid: {seed: [1]}, exclude: [{seed: 1}]}\n"), "sweep.exclude leaves no point"));
}

TEST_F(ExpandTest, EqualPointsCollapseWithANote) {
  const Expansion e = points("sweep: {list: [{name: a, seed: 1}, {name: b, seed: 01}, {name: a, seed: 2}]}\n");
  EXPECT_EQ(labels(e), (Labels{"a", "a #2"}));
  ASSERT_EQ(e.notes.size(), 1u);
  EXPECT_EQ(e.notes[0], "'b' is the same experiment as 'a' and runs once");
  EXPECT_EQ(e.points[1].experiment.label, "a #2");
}

TEST_F(ExpandTest, OverridesHoldForEveryPoint) {
  const Expansion e = points("sweep: {grid: {pipeline.grouping: [single, {type: kmeans, groups: 2}]}}\n",
                             {"seed=9", "pipeline.salient_quantizer.bits=3", "eval=[{windows: 1}]"});
  for (const Point& p : e.points) {
    EXPECT_EQ(at(p, "seed"), "9");
    EXPECT_EQ(at(p, "pipeline.salient_quantizer.bits"), "3");
    EXPECT_EQ(at(p, "eval.0.windows"), "1");
  }
  EXPECT_TRUE(
      has(fails("sweep: {grid: {seed: [1, 2]}}\n", {"seed=3"}), "--set seed=3: the sweep varies 'seed' at x.yaml:2:23"));
  EXPECT_TRUE(
      has(fails("sweep: {grid: {pipeline.grouping.groups: [1, 2]}}\n", {"pipeline.grouping=single"}), "the sweep varies"));
  EXPECT_EQ(points("sweep: {grid: {seed: [1, 2]}}\n", {"sweep.grid.seed=[4, 5, 6]"}).points.size(), 3u);
  EXPECT_EQ(points("sweep: {grid: {seed: [1, 2]}}\n", {"sweep="}).points.size(), 1u);
}

TEST_F(ExpandTest, EveryPointIsCheckedFirst) {
  EXPECT_EQ(fails("sweep:\n  grid:\n    pipeline.salient_quantizer.bits: [2, 99]\n"),
            "x.yaml:4:42: found '99' for bits; expected 2 .. 8 (in the point 'bits=99')");
  EXPECT_TRUE(has(fails("sweep: {grid: {pipeline.grouping: [{type: kmean}]}}\n"), "x.yaml:2:43: unknown grouping 'kmean'"));
  EXPECT_TRUE(has(fails("sweep: {grid: {pipeline.salient_quantizer.bist: [1, 2]}}\n"),
                  "unknown key 'bist' in pipeline.salient_quantizer (multibit)"));
  EXPECT_TRUE(has(fails("sweep: {list: [{extends: rtm}]}\n"), "x.yaml:2:26: extends 'rtm': unknown preset 'rtm'"));
}

TEST_F(ExpandTest, Errors) {
  EXPECT_EQ(fails("sweep: {gird: {seed: [1]}}\n"),
            "x.yaml:2:9: unknown key 'gird' in sweep; expected one of: grid, zip, list, union, exclude, ablate; did you mean "
            "'grid'?");
  EXPECT_TRUE(has(fails("sweep: [1]\n"), "x.yaml:2:8: sweep is not a map"));
  EXPECT_TRUE(has(fails("sweep: {exclude: [{seed: 1}]}\n"), "sweep generates no points"));
  EXPECT_TRUE(has(fails("sweep: {grid: {seed: 1}}\n"), "x.yaml:2:22: sweep.grid.seed is not a list with values"));
  EXPECT_TRUE(has(fails("sweep: {grid: {seed: []}}\n"), "sweep.grid.seed is not a list with values"));
  EXPECT_TRUE(has(fails("sweep: {grid: {name: [a, b]}}\n"), "'name' cannot be varied"));
  EXPECT_TRUE(has(fails("sweep: {grid: {sweep.grid: [a]}}\n"), "'sweep.grid' cannot be varied"));
  EXPECT_TRUE(has(fails("sweep: {list: []}\n"), "sweep.list is not a list with entries"));
  EXPECT_TRUE(has(fails("sweep: {list: [3]}\n"), "an entry of sweep.list is not a map"));
  EXPECT_TRUE(has(fails("sweep: {ablate: {x: 3}}\n"), "an entry of sweep.ablate is not a map"));
  EXPECT_TRUE(has(fails("sweep: {union: [3]}\n"), "sweep is not a map"));
  std::string many = "[0";
  for (int i = 1; i < 150; ++i)
    many += fmt::format(",{}", i);
  many += "]";
  EXPECT_TRUE(
      has(fails("sweep: {grid: {seed: " + many + ", pipeline.block_columns: " + many + "}}\n"), "more than 10000 points"));
}

// The shipped files: all of them resolve, and the quickstart has the points its table promises.
TEST_F(ExpandTest, ShippedFilesResolve) {
  const std::filesystem::path configs =
      std::filesystem::path(SAGE_TEST_DATA).parent_path().parent_path() / "experiments" / "configs";
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(configs)) {
    const Expansion e = expand(entry.path().string(), {}, registries_);
    EXPECT_GT(e.points.size(), 1u) << entry.path();
    EXPECT_TRUE(e.notes.empty()) << entry.path() << ": " << e.notes[0];
    ++files;
  }
  EXPECT_GE(files, 4);
}

// Every baseline; SAGE-PTQ with and without compensation; three seeds of whatever is random, with one calibration.
TEST_F(ExpandTest, Baselines) {
  const std::filesystem::path configs =
      std::filesystem::path(SAGE_TEST_DATA).parent_path().parent_path() / "experiments" / "configs";
  const Expansion e = expand((configs / "baselines.yaml").string(), {}, registries_);
  std::map<std::string, std::set<std::string>> seeds;  // label without seeds -> seeds
  for (const Point& p : e.points) {
    const std::string name = p.label.substr(0, p.label.find(", "));
    seeds[name].insert(at(p, "seed") + "/" + (p.experiment.calibrates ? at(p, "calibration.seed") : "-"));
    EXPECT_EQ(at(p, "calibration.samples"), p.experiment.calibrates ? "8" : "absent") << p.label;
    EXPECT_EQ(p.experiment.calibrates, at(p, "pipeline.compensator.type") == "\"gptq\"" || name.starts_with("billm"))
        << p.label;
  }
  const std::set<std::string> once{"0/-"}, weights{"0/-", "1/-", "2/-"}, calibrated{"0/0", "1/1", "2/2"};
  for (const char* name : {"full precision", "rtn 4-bit row", "rtn 3-bit row", "rtn 2-bit row", "rtn_minmax_1bit"})
    EXPECT_EQ(seeds[name], once) << name;
  for (const char* name : {"sage_paper", "sage_honest", "sage_honest 2.9"})
    EXPECT_EQ(seeds[name], weights) << name;
  for (const char* name :
       {"gptq 4-bit g128", "gptq 3-bit g128", "gptq 2-bit g128", "gptq 1-bit g128", "pb_llm_rowwise", "pb_llm_g128",
        "billm_released", "billm_paper", "sage_paper + gptq", "sage_honest + gptq", "sage_honest 2.9 + gptq"})
    EXPECT_EQ(seeds[name], calibrated) << name;
  EXPECT_EQ(e.points.size(), 5u + 3 * 3 + 11 * 3);
}

// Files that need only --model: the published protocol, and every published preset once.
TEST_F(ExpandTest, ModelFiles) {
  const std::filesystem::path configs =
      std::filesystem::path(SAGE_TEST_DATA).parent_path().parent_path() / "experiments" / "configs";
  for (const char* file : {"opt_1.3b.yaml", "opt_6.7b.yaml", "llama2_7b.yaml", "llama3_8b.yaml"}) {
    const Expansion e = expand((configs / file).string(), {}, registries_);
    EXPECT_NE(e.name, "published-methods") << file;
    EXPECT_EQ(e.points.size(), 18u) << file;
    for (const Point& p : e.points) {
      ASSERT_EQ(p.experiment.eval.size(), 1u);
      EXPECT_EQ(p.experiment.eval[0].protocol, "gptq-2048");
      EXPECT_EQ(p.experiment.eval[0].text, "wikitext2:test");
      EXPECT_EQ(p.experiment.eval[0].windows, 0);
      EXPECT_EQ(p.experiment.calibration.dataset, "c4:calibration");
      EXPECT_EQ(p.experiment.calibration.samples, 128);
      EXPECT_EQ(p.experiment.calibration.length_tokens, 2048);
    }
  }
}

TEST_F(ExpandTest, Quickstart) {
  const std::filesystem::path configs =
      std::filesystem::path(SAGE_TEST_DATA).parent_path().parent_path() / "experiments" / "configs";
  const Expansion e = expand((configs / "quickstart.yaml").string(), {}, registries_);
  std::set<std::string> have;
  for (const Point& p : e.points) {
    ASSERT_EQ(p.experiment.eval.size(), 1u);
    EXPECT_EQ(p.experiment.eval[0].protocol, "gptq-2048");
    EXPECT_TRUE(p.experiment.eval[0].kl);
    if (is_full_precision(p.experiment.pipeline)) {
      have.insert("full");
      continue;
    }
    const std::string quantizer = at(p, "pipeline.quantizer.type");
    if (quantizer == "\"uniform\"")
      have.insert("rtn" + at(p, "pipeline.quantizer.bits") + "g" + at(p, "pipeline.quantizer.group_size"));
    else if (at(p, "pipeline.grouping.type") == "\"positional\"")
      have.insert("positional");
    else if (at(p, "pipeline.grouping.type") == "\"spectral\"")
      have.insert("paper K=" + at(p, "pipeline.grouping.groups"));
    else
      have.insert("honest " + at(p, "pipeline.threshold.budget") + " " + at(p, "pipeline.transform.type"));
  }
  EXPECT_EQ(have,
            (std::set<std::string>{"full", "rtn2g0", "rtn3g0", "rtn4g0", "rtn2g128", "rtn3g128", "rtn4g128", "paper K=null",
                                   "paper K=2", "paper K=4", "paper K=5", "paper K=8", "positional", "honest 2.3 \"scale\"",
                                   "honest 2.5 \"scale\"", "honest 2.9 \"scale\"", "honest 3.3 \"scale\"", "honest 3.3 \"none\""}));
}

}  // namespace
}  // namespace sage
