// sageptq check: everything that can be wrong with an experiment, before anything runs.
#include <fmt/format.h>

#include <optional>

#include "experiments/cli/verbs.h"
#include "experiments/engine/expand.h"
#include "experiments/engine/matrix_patterns.h"
#include "experiments/engine/runner.h"

namespace sage {
namespace po = boost::program_options;
namespace {

void print_points(const Expansion& e) {
  for (const Point& p : e.points)
    fmt::print("  {}\n", p.label);
}

// Patterns are about a model: without one, nothing can be said of them.
void check_selection(const Expansion& e) {
  for (const Point& p : e.points) {
    if (p.experiment.exclude.empty() && p.experiment.include == std::vector<std::string>{"*"}) continue;
    std::optional<CheckpointSource> model;
    try {
      model.emplace(resolve_model_path(p.experiment.model_path));
    } catch (const ResourceError& error) {
      fmt::print(stderr, "note: include and exclude were not held against the model ({})\n", error.what());
      return;
    }
    check_patterns(p.experiment, *model);
  }
}

void check(const Program& program, const std::string& file, const std::vector<std::string>& overrides, bool all,
           const std::string& format) {
  const Expansion e = expand(file, overrides, program.registries);
  for (const std::string& note : e.notes)
    fmt::print(stderr, "note: {}\n", note);
  check_selection(e);
  if (format == "json") {
    std::string text;
    for (const Point& p : e.points)
      text += (text.empty() ? "" : ",\n ") + canonical_json(p.experiment.resolved);
    fmt::print("[{}]\n", text);
    return;
  }
  fmt::print("{}: {}, {} point{}\n", file, e.name, e.points.size(), e.points.size() == 1 ? "" : "s");
  if (e.points.size() > 1) print_points(e);
  if (e.points.size() > 1 && !all) return;
  for (const Point& p : e.points)
    fmt::print("\n{}", to_yaml(p.experiment.resolved, true));
}

}  // namespace

Verb check_verb() {
  Verb v;
  v.name = "check";
  v.summary = "Resolves and validates experiment files and prints the final configuration with the origin of every value.";
  v.synopsis = "FILE-or-PRESET... [--set a.b=v]... [--all] [--format yaml|json]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()("file", po::value<std::vector<std::string>>()->required(), "experiment files or presets")(
        "set", po::value<std::vector<std::string>>()->composing(), "a.b=value: replaces a value; may be given again")(
        "all", "for sweeps: the configuration of every point, not only its name")(
        "format", po::value<std::string>()->default_value("yaml"), "yaml (with origins) or json (canonical)");
    p.add("file", -1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const std::string format = m["format"].as<std::string>();
    if (format != "yaml" && format != "json") throw UserError("check: --format {}; expected yaml or json", format);
    const auto overrides = m.count("set") > 0 ? m["set"].as<std::vector<std::string>>() : std::vector<std::string>{};
    ExitCode worst = ExitCode::kDone;
    for (const std::string& file : m["file"].as<std::vector<std::string>>()) {
      try {
        check(program, file, overrides, m.count("all") > 0, format);
      } catch (const Error& e) {  // the other files are checked all the same
        if (e.code() != ExitCode::kUsage && e.code() != ExitCode::kMissingResource) throw;
        std::fflush(stdout);
        fmt::print(stderr, "sageptq: {}\n", e.what());
        if (worst == ExitCode::kDone || e.code() == ExitCode::kUsage) worst = e.code();
      }
    }
    return worst;
  };
  return v;
}

}  // namespace sage
