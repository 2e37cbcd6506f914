// Patterns of include and exclude: each matches something, or is an error that says what was probably meant.
#include "experiments/engine/matrix_patterns.h"

#include <algorithm>

#include "core/model/family.h"
#include "tests/cli_unit/helpers.h"

namespace sage {
namespace {

class Patterns : public ExperimentFiles {
 protected:
  Patterns() : model_(std::string(SAGE_TEST_DATA) + "/hf/llama_gqa_tied_bf16") {
    for (const LinearSite& s : linear_sites(find_family(model_.config()), model_.config()))
      names_.push_back(s.name);
  }
  std::string check(const std::string& keys, const std::string& pipeline = "extends: rtn\n") {
    return error([&] { check_patterns(resolve_experiment(file("x.yaml", pipeline + keys), {}, registries_), model_); });
  }
  CheckpointSource model_;
  std::vector<std::string> names_;
};

TEST_F(Patterns, WhatWasMeant) {
  for (const auto& [typed, meant] : std::vector<std::pair<std::string, std::string>>{
           {"down_proj", "*down_proj*"},
           {".*down_proj.*", "*down_proj*"},
           {"re:.*down_proj", "*down_proj*"},
           {"re:.*down_proj\\.weight$", "*down_proj.weight"},
           {"^model\\.layers\\.0\\..*$", "model.layers.0.*"},
           {"model.layers.0.mlp.down_proj", "model.layers.0.mlp.down_proj*"},
           {"layers.1.", "*layers.1.*"},
           {"model\\.layers\\.\\d+\\.mlp\\..*", "*model.layers.*.mlp.*"},
           {"model.*.down_proj", "model.*.down_proj*"},  // a glob, for all its ".*"
           {"*donw_proj*", "*down_proj*"},
           {"re:.*qproj.*", "*q_proj*"},
           {"nothing like it", ""}}) {
    SCOPED_TRACE(typed);
    const std::string found = suggested_pattern(typed, names_);
    EXPECT_EQ(found, meant);
    EXPECT_EQ(found.empty(),
              std::none_of(names_.begin(), names_.end(), [&](const std::string& n) { return matches_pattern(found, n); }));
  }
}

TEST_F(Patterns, EachMustMatchALinearLayer) {
  EXPECT_EQ(check("exclude: ['*down_proj*']\n"), "no error");
  EXPECT_EQ(check("include: ['*mlp*', '*layers.0.*']\nexclude: ['*[kv]_proj.weight']\n"), "no error");
  const std::string regex = check("exclude: ['*down_proj*', '.*up_proj.*']\n");
  for (const char* part :
       {"x.yaml:2:10: exclude '.*up_proj.*' matches none of the model's", "linear layers",
        "model.layers.0.self_attn.q_proj.weight", "glob on full names", "no regular expression", "did you mean '*up_proj*'?"})
    EXPECT_TRUE(has(regex, part)) << regex;
  EXPECT_TRUE(has(check("include: ['*mlp', '*']\n"), "include '*mlp' matches none"))
      << "one that matches does not cover for another";
  EXPECT_TRUE(has(check("exclude: ['zzz']\n"), "a layer's are self_attn.q_proj, ")) << check("exclude: ['zzz']\n");
  // Also where nothing is quantized: the file is as wrong.
  EXPECT_TRUE(has(check("exclude: ['down_proj']\n", "pipeline: none\n"), "did you mean '*down_proj*'?"));
}

TEST_F(Patterns, WhatIsNeverQuantizedNeedNotBeNamed) {
  for (const char* name : {"lm_head", "lm_head.weight", "re:.*lm_head", "*embed_tokens*", "*norm*"}) {
    const std::string said = check(std::string("exclude: ['") + name + "']\n");
    EXPECT_TRUE(has(said, "never quantized")) << said;
  }
}

TEST_F(Patterns, KeepTheirOrigins) {
  const std::string path = file("x.yaml", "extends: rtn\nexclude: ['*a*', '*b*']\n");
  const Experiment e = resolve_experiment(path, {"include=['*c*']"}, registries_);
  EXPECT_TRUE(has(e.resolved.find("exclude")->items()[1].where().str(), "x.yaml:2:18"));
  EXPECT_EQ(e.resolved.find("include")->items()[0].where().str(), "--set include=['*c*']");
}

TEST_F(Patterns, SomethingMustBeLeft) {
  const std::string said = check("include: ['*down_proj*']\nexclude: ['*mlp*']\n");
  EXPECT_TRUE(has(said, "include and exclude leave no matrix")) << said;
  EXPECT_EQ(check("exclude: ['*']\n", "pipeline: none\n"), "no error");
}

}  // namespace
}  // namespace sage
