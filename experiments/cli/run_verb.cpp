// sageptq run: one experiment, end to end.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/config/value.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/log.h"
#include "experiments/cli/options.h"
#include "experiments/cli/signals.h"
#include "experiments/cli/summary.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/expand.h"
#include "experiments/engine/provenance.h"
#include "experiments/engine/runner.h"

namespace sage {
namespace po = boost::program_options;

Verb run_verb() {
  Verb v;
  v.name = "run";
  v.summary = "Quantizes a model with one method, evaluates it from the file written, and records the run.";
  v.synopsis = "PRESET-or-FILE [--model DIR] [--set a.b=v]... [--until quantize] [-o OUT]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    add_experiment_options(o);
    add_run_options(o);
    p.add("experiment", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    Experiment e = resolve_experiment(m["experiment"].as<std::string>(), run_overrides(m), program.registries);
    std::vector<std::string> notes;
    override_evaluations(e, evaluation_overrides(m), notes);
    for (const std::string& note : notes)
      log_info("note: {}", note);
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    const RunRequest request = run_request(m);
    const StopOnSignals stop_on_signals;
    RunnerOptions runner_settings = runner_options(program, m);
    if (m.count("rerun") > 0) runner_settings.rerun = Rerun::kAll;
    Runner runner(program.registries, std::move(runner_settings));
    if (request.until_quantize) {
      const PackedReport r = runner.quantize_only(e, request.output);
      print_packed(r, request.output, format);
      return ExitCode::kDone;
    }
    const std::string key = runner.key_of(e);
    try {
      const RunResult r = runner.run(e, request.output);
      if (r.reused)
        log_info("run {} is stored already{}", key.substr(0, 12), of_another_build(r.record.provenance) ? ", by another build; --rerun makes it again" : "");
      print_runs({r.record}, format);
      log_info("record: {}", r.file);
      return ExitCode::kDone;
    } catch (const RunError& error) {
      log_warning("the failure is recorded in {}", runner.record_failure(e, key, error));
      throw;
    }
  };
  return v;
}

}  // namespace sage
