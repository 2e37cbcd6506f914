// sageptq check: everything that can be wrong with an experiment, before anything runs.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "experiments/cli/options.h"
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

// What `run` would say before it begins. Of a sweep, about its first point.
void say_run(const Program& program, const Expansion& expansion, const po::variables_map& m) {
  const Experiment& e = expansion.points[0].experiment;
  const RunRequest request = run_request(m);
  // Whoever names none of it may only want to see a file checked, on a machine without the model.
  const auto named = {"model", "text", "protocol", "windows", "kl", "seed", "strict", "store", "output", "until"};
  const bool asked =
      !m["device"].defaulted() || std::any_of(named.begin(), named.end(), [&](const char* o) { return m.count(o) > 0; });
  if (expansion.points.size() > 1 && !asked) return;
  try {
    Runner runner(program.registries, runner_options(program, m));
    const std::string key = runner.check(e, request.output);
    const Store& store = runner.store();
    const std::string holder = store.holder(key);
    fmt::print(stderr, "{}{}: {}\n", request.until_quantize ? "run --until quantize " : "run ", key.substr(0, 12),
               store.exists(key)   ? "is stored already"
               : !holder.empty()   ? holder + " works on it"
               : store.failed(key) ? "failed before"
                                   : "is not stored yet");
  } catch (const ResourceError& error) {
    if (asked) throw;
    fmt::print(stderr, "note: run would stop: {}\n", error.what());
  }
}

void check(const Program& program, const std::string& file, const po::variables_map& m) {
  const Expansion e = expand(file, run_overrides(m), program.registries, evaluation_overrides(m));
  for (const std::string& note : e.notes)
    fmt::print(stderr, "note: {}\n", note);
  check_selection(e);
  if (m["format"].as<std::string>() == "json") {
    std::string text;
    for (const Point& p : e.points)
      text += (text.empty() ? "" : ",\n ") + canonical_json(p.experiment.resolved);
    fmt::print("[{}]\n", text);
  } else {
    fmt::print("{}: {}, {} point{}\n", file, e.name, e.points.size(), e.points.size() == 1 ? "" : "s");
    if (e.points.size() > 1) print_points(e);
    if (e.points.size() == 1 || m.count("all") > 0)
      for (const Point& p : e.points)
        fmt::print("\n{}", to_yaml(p.experiment.resolved, true));
  }
  std::fflush(stdout);
  say_run(program, e, m);
}

}  // namespace

Verb check_verb() {
  Verb v;
  v.name = "check";
  v.summary =
      "Resolves and validates experiment files, prints the final configuration with the origin of every value, and what run "
      "would say.";
  v.synopsis = "FILE-or-PRESET... [any option of run] [--all] [--format yaml|json]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()("file", po::value<std::vector<std::string>>()->required(), "experiment files or presets");
    add_override_options(o);
    add_run_options(o);
    o.add_options()("all", "for sweeps: the configuration of every point, not only its name")(
        "format", po::value<std::string>()->default_value("yaml"), "yaml (with origins) or json (canonical)");
    p.add("file", -1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    if (const std::string format = m["format"].as<std::string>(); format != "yaml" && format != "json") {
      if (format != "table" && format != "csv" && format != "md" && format != "latex")  // run's, for its tables
        throw UserError("check: --format {}; expected yaml or json", format);
    }
    ExitCode worst = ExitCode::kDone;
    for (const std::string& file : m["file"].as<std::vector<std::string>>()) {
      try {
        check(program, file, m);
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
