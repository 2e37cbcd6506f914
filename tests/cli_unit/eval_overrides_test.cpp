// --protocol, --text, --windows and --kl change entries of the evaluation list and nothing else.
#include "experiments/engine/eval_overrides.h"

#include <fmt/ranges.h>

#include "experiments/engine/expand.h"
#include "tests/cli_unit/helpers.h"

namespace sage {
namespace {

using Notes = std::vector<std::string>;

class Overrides : public ExperimentFiles {
 protected:
  Experiment apply(const std::string& eval, const EvalOverrides& o) {
    Experiment e = resolve_experiment(file("x.yaml", "pipeline: none\n" + eval), {}, registries_);
    notes_.clear();
    override_evaluations(e, o, notes_);
    return e;
  }
  Notes notes_;
};

const char* const kTwo =
    "eval: [{protocol: gptq-256, text: 'c4:validation', windows: 6}, {protocol: llamacpp-512, text: wikitext2, windows: 3, kl: "
    "true}]\n";

TEST_F(Overrides, ChangeWhatTheyNameAndKeepTheRest) {
  const Experiment e = apply(kTwo, {.windows = 2});
  EXPECT_EQ(e.eval, (std::vector<EvalSpec>{{"gptq-256", "c4:validation", 2, false}, {"llamacpp-512", "wikitext2", 2, true}}));
  EXPECT_EQ(notes_, (Notes{"evaluation 1 of 2: windows 6 -> 2", "evaluation 2 of 2: windows 3 -> 2"}));
  EXPECT_EQ(e.resolved.find("eval")->items()[1].find("windows")->text(), "2");
  EXPECT_EQ(e.resolved.find("eval")->items()[1].find("windows")->where().str(), "--windows");
  EXPECT_EQ(e.resolved.find("eval")->items()[1].find("kl")->text(), "true");
  // What is read back from `resolved` is what runs.
  EXPECT_EQ(resolve(e.resolved, e.source, registries_).eval, e.eval);
}

TEST_F(Overrides, EachOfThem) {
  const Experiment e = apply(kTwo, {.protocol = "gptq-64", .text = "it's a file.txt", .windows = 0, .kl = true});
  EXPECT_EQ(e.eval, (std::vector<EvalSpec>{{"gptq-64", "it's a file.txt", 0, true}}));
  EXPECT_EQ(notes_,
            (Notes{"evaluation 1 of 2: protocol gptq-256 -> gptq-64, text c4:validation -> it's a file.txt, windows 6 -> all, "
                   "kl false -> true",
                   "evaluation 2 of 2: protocol llamacpp-512 -> gptq-64, text wikitext2 -> it's a file.txt, windows 3 -> all",
                   "evaluation 2 of 2 is now equal to evaluation 1 and is left out"}));
  EXPECT_EQ(e.resolved.find("eval")->items().size(), 1u);
}

TEST_F(Overrides, OneOfEqualEntriesStaysAndKeepsItsNumber) {
  const Experiment e = apply(
      "eval: [{text: a, windows: 1}, {text: b, windows: 1, kl: true}, {text: c, windows: 1}, {text: d, windows: 1, kl: "
      "true}]\n",
      {.text = "t"});
  EXPECT_EQ(e.eval, (std::vector<EvalSpec>{{"gptq-2048", "t", 1, false}, {"gptq-2048", "t", 1, true}}));
  ASSERT_EQ(notes_.size(), 6u);
  EXPECT_EQ(notes_[4], "evaluation 3 of 4 is now equal to evaluation 1 and is left out");
  EXPECT_EQ(notes_[5], "evaluation 4 of 4 is now equal to evaluation 2 and is left out");
}

TEST_F(Overrides, NothingToChangeIsNoChange) {
  EXPECT_EQ(apply(kTwo, {}).eval.size(), 2u);
  EXPECT_TRUE(notes_.empty());
  apply("eval: [{windows: 2}]\n", {.windows = 2});
  EXPECT_TRUE(notes_.empty());
  EXPECT_FALSE(apply("", {.windows = 4}).eval[0].kl);  // a file that says nothing asks for no divergence
  EXPECT_EQ(notes_, Notes{"evaluation 1 of 1: windows all -> 4"});
  EXPECT_TRUE(apply("eval: []\n", {.windows = 4}).eval.empty());
  ASSERT_EQ(notes_.size(), 1u);
  EXPECT_TRUE(has(notes_[0], "evaluates nothing"));
}

TEST_F(Overrides, HoldForEveryPointOfASweep) {
  const std::string path = file("s.yaml", std::string("extends: rtn\n") + kTwo + "sweep: {grid: {seed: [0, 1]}}\n");
  const Expansion e = expand(path, {}, registries_, {.windows = 2});
  ASSERT_EQ(e.points.size(), 2u);
  for (const Point& p : e.points)
    EXPECT_EQ(p.experiment.eval[1], (EvalSpec{"llamacpp-512", "wikitext2", 2, true}));
  EXPECT_EQ(e.notes, (Notes{"evaluation 1 of 2: windows 6 -> 2", "evaluation 2 of 2: windows 3 -> 2"}));
  EXPECT_TRUE(has(e.points[0].key, "\"windows\":2")) << e.points[0].key;
  // Where points differ, each says its own; those that become equal run once.
  const Expansion differ =
      expand(file("d.yaml", "extends: rtn\neval: [{windows: 6}]\nsweep: {grid: {eval.0.windows: [1, 2]}}\n"), {}, registries_,
             {.windows = 2});
  EXPECT_EQ(differ.points.size(), 1u);
  EXPECT_TRUE(has(fmt::format("{}", fmt::join(differ.notes, "|")), "'windows=1': evaluation 1 of 1: windows 1 -> 2"));
}

TEST_F(Overrides, EqualPointsOfOneNameAreSaidToBe) {
  const Expansion e =
      expand(file("s.yaml", "extends: rtn\nsweep: {list: [{name: x, seed: 1}, {name: x, seed: 1}, {name: y, seed: 1}]}\n"), {},
             registries_);
  EXPECT_EQ(e.notes, (Notes{"two points called 'x' are the same experiment, which runs once",
                            "'y' is the same experiment as 'x' and runs once"}));
}

}  // namespace
}  // namespace sage
