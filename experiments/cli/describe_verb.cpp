// sageptq describe: everything known about one name.
#include <fmt/format.h>

#include <algorithm>

#include "core/pipeline/pipeline_config.h"
#include "experiments/cli/catalogue.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/experiment.h"
#include "experiments/engine/matrix_patterns.h"

namespace sage {
namespace po = boost::program_options;
namespace {

void print_component(const ComponentInfo& c) {
  fmt::print("{} ({}, version {})\n  {}\n", c.name, c.kind, c.version, c.doc);
  if (!c.reference.empty()) fmt::print("  source: {}\n", c.reference);
  fmt::print("\n");
  if (c.params.empty())
    fmt::print("  no parameters\n");
  else
    fmt::print("{}", parameter_table(c.params).render(TableFormat::kText));
}

void print_pipeline(const Registries& registries) {
  Table t({{"slot"}, {"default"}, {"meaning"}, {"components"}});
  for (const PipelineSlot& s : pipeline_slots()) {
    std::string names;
    for (const ComponentInfo& c : registries.all())
      if (c.kind == s.kind) names += (names.empty() ? "" : ", ") + c.name;
    t.add_row({s.path, s.default_type == nullptr ? Table::Cell() : Table::Cell(s.default_type), s.doc, names});
  }
  fmt::print("pipeline\n  Slots filled with components: {{type: NAME, parameter: value, ...}} or a bare NAME.\n\n{}\n{}",
             t.render(TableFormat::kText), parameter_table(pipeline_parameters()).render(TableFormat::kText));
}

void print_experiment() {
  fmt::print(
      "experiment\n  A YAML file: these keys, the sections below, `extends` (a preset or a file, or a list of them) and "
      "`sweep`.\n");
  for (const auto& [section, params] : experiment_parameters()) {
    if (section == "pipeline") continue;
    if (section != "experiment") fmt::print("\n{}{}\n", section, section == "eval" ? ": a list; each entry has" : "");
    fmt::print("\n{}", parameter_table(params).render(TableFormat::kText));
  }
  fmt::print(
      "\npipeline: see `sageptq describe pipeline`.\n\n"
      "Patterns of include and exclude are {}.\n"
      "A linear layer is quantized if one of include matches it and none of exclude; embeddings, output head, norms and\n"
      "biases never are. Layers left as they are count in stored and paper bits with the bits they are stored in.\n",
      kPatternLanguage);
}

bool describe(const Registries& registries, const std::string& name) {
  bool found = false;
  const auto next = [&found] {
    if (found) fmt::print("\n");
    found = true;
  };
  for (const ComponentInfo& c : registries.all())
    if (c.name == name || c.kind + "/" + c.name == name || c.kind + "." + c.name == name) {
      next();
      print_component(c);
    }
  for (const PresetInfo& p : list_presets())
    if (p.name == name) {
      next();
      fmt::print("{} (preset, {})\n  {}\n\n{}", p.name, p.path, p.about,
                 to_yaml(resolve_experiment(p.name, {}, registries).pipeline, true));
    }
  if (name == "pipeline") {
    next();
    print_pipeline(registries);
  }
  for (const auto& [section, params] : experiment_parameters())
    if (section == name && section != "pipeline") {
      next();
      if (section == "experiment")
        print_experiment();
      else
        fmt::print("{}\n\n{}", section, parameter_table(params).render(TableFormat::kText));
    }
  const std::vector<std::string> kinds = catalogue_kinds(registries);
  if (!found && std::find(kinds.begin(), kinds.end(), name) != kinds.end()) {
    next();
    fmt::print("{}\n\n{}", name, catalogue_table(registries, name).render(TableFormat::kText));
  }
  return found;
}

}  // namespace

Verb describe_verb() {
  Verb v;
  v.name = "describe";
  v.summary = "Explains a component, a preset or a section: what it does, its source, its parameters.";
  v.synopsis = "NAME";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()(
        "name", po::value<std::string>()->required(),
        "a component (`fixed`, or `grouping/fixed` where kinds share a name), a preset, or one of: experiment, model, "
        "eval, calibration, pipeline");
    p.add("name", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const std::string name = m["name"].as<std::string>();
    if (describe(program.registries, name)) return ExitCode::kDone;
    std::vector<std::string> names;
    for (const auto& section : experiment_parameters())
      names.push_back(section.first);
    for (const ComponentInfo& c : program.registries.all())
      names.push_back(c.name);
    for (const PresetInfo& p : list_presets())
      names.push_back(p.name);
    const std::string near = nearest_name(name, names);
    throw UserError(
        "describe: nothing is called '{}'; expected a component, a preset or a section; `sageptq list` shows them{}", name,
        near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
  };
  return v;
}

}  // namespace sage
