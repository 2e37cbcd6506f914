// sageptq sweep: many experiments; running the same command again resumes.
#include <fmt/format.h>

#include "core/util/log.h"
#include "experiments/cli/options.h"
#include "experiments/cli/summary.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/expand.h"
#include "experiments/engine/runner.h"
#include "experiments/engine/sweep.h"

namespace sage {
namespace po = boost::program_options;

Verb sweep_verb() {
  Verb v;
  v.name = "sweep";
  v.summary = "Runs every point of an experiment file; points already stored are skipped, so the same command resumes.";
  v.synopsis = "FILE [--model DIR] [--set a.b=v]... [--dry-run] [-o DIR]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    add_experiment_options(o);
    o.add_options()("output,o", po::value<std::string>(), "folder for sweep.json, the list of runs; default: sweeps/NAME in the store")(
        "dry-run", "show the points and what they will cost, run nothing")("fail-fast", "stop at the first point that fails")(
        "retry-failed", "try points again that failed before");
    p.add("experiment", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const Expansion expansion =
        expand(m["experiment"].as<std::string>(), experiment_overrides(m), program.registries, evaluation_overrides(m));
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    for (const std::string& note : expansion.notes)
      log_info("note: {}", note);
    Runner runner(program.registries, runner_options(program, m));
    if (m.count("dry-run") > 0) {
      if (format == TableFormat::kText)
        for (const Point& p : expansion.points)
          fmt::print("{} {}\n", runner.store().exists(runner.key_of(p.experiment)) ? "stored" : "to run", p.label);
      fmt::print("{}", plan_sweep(expansion, runner).render(format));
      return ExitCode::kDone;
    }
    SweepOptions options;
    options.folder = m.count("output") > 0 ? m["output"].as<std::string>() : runner.store().root() + "/sweeps/" + expansion.name;
    options.fail_fast = m.count("fail-fast") > 0;
    options.retry_failed = m.count("retry-failed") > 0;
    const SweepOutcome outcome = run_sweep(expansion, runner, options);
    print_runs(outcome.records, format);
    log_info("{} run, {} stored before, {} failed; list of runs: {}", outcome.complete, outcome.reused, outcome.failed, outcome.manifest);
    if (outcome.failed > 0) log_info("next: the same command with --retry-failed");
    return outcome.failed > 0 ? ExitCode::kFailedPoints : ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
