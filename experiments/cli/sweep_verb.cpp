// sageptq sweep: many experiments; running the same command again resumes.
#include <fmt/format.h>

#include <filesystem>

#include "core/util/log.h"
#include "core/util/output_path.h"
#include "core/util/stop.h"
#include "experiments/cli/options.h"
#include "experiments/cli/signals.h"
#include "experiments/cli/summary.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/expand.h"
#include "experiments/engine/provenance.h"
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
    o.add_options()("output,o", po::value<std::string>(),
                    "folder for sweep.json, the list of runs; default: sweeps/NAME in the store")(
        "dry-run", "show the points and what they will cost, run nothing")("fail-fast", "stop at the first point that fails")(
        "retry-failed", "try points again that failed before")(
        "rerun", "make points again that another build of the program stored; former records are kept beside as KEY.former-1.h5")(
        "no-wait", "end with exit code 75 where only points are left that other processes work on; default: wait for them");
    p.add("experiment", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const Expansion expansion =
        expand(m["experiment"].as<std::string>(), experiment_overrides(m), program.registries, evaluation_overrides(m));
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    for (const std::string& note : expansion.notes) log_info("note: {}", note);
    const std::string folder = m.count("output") > 0 ? output_path(m["output"].as<std::string>()) : "";
    if (!folder.empty() && std::filesystem::exists(folder) && !std::filesystem::is_directory(folder))
      throw UserError("-o {}: is a file; expected a folder for sweep.json; choose another -o", folder);
    const StopOnSignals stop_on_signals;
    RunnerOptions runner_settings = runner_options(program, m);
    if (m.count("rerun") > 0) runner_settings.rerun = Rerun::kOfOtherBuilds;
    Runner runner(program.registries, std::move(runner_settings));
    if (m.count("dry-run") > 0) {
      if (format == TableFormat::kText)
        for (const Point& p : expansion.points) {
          const std::string key = runner.key_of(p.experiment);
          const char* state = "to run";
          if (runner.store().exists(key))
            state = of_another_build(read_run_file(runner.store().path_of(key), RunParts::kSummary).provenance) ? "stored by another build" : "stored";
          fmt::print("{} {}\n", state, p.label);
        }
      fmt::print("{}", plan_sweep(expansion, runner).render(format));
      return ExitCode::kDone;
    }
    namespace fs = std::filesystem;
    const auto place = [](const std::string& path) { return fs::weakly_canonical(fs::absolute(path)); };
    if (!folder.empty() && place(folder).parent_path() != place(runner.store().root() + "/sweeps"))
      runner.store().keep_out(folder);
    SweepOptions options;
    options.folder = folder.empty() ? runner.store().root() + "/sweeps/" + expansion.name : folder;
    options.fail_fast = m.count("fail-fast") > 0;
    options.retry_failed = m.count("retry-failed") > 0;
    options.wait = m.count("no-wait") == 0;
    const SweepOutcome outcome = run_sweep(expansion, runner, options);
    print_runs(outcome.records, format);
    log_info("{} run, {} stored before, {} failed; list of runs: {}", outcome.complete, outcome.reused, outcome.failed, outcome.manifest);
    if (outcome.elsewhere > 0)
      throw Stopped(fmt::format("sweep: {} points are in the hands of other processes", outcome.elsewhere));
    if (outcome.failed > 0) log_info("next: the same command with --retry-failed");
    return outcome.failed > 0 ? ExitCode::kFailedPoints : ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
