// sageptq run: one experiment, end to end.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/config/value.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/log.h"
#include "experiments/cli/options.h"
#include "experiments/cli/summary.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/expand.h"
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
    o.add_options()("output,o", po::value<std::string>(), "leave the packed directory here")("until", po::value<std::string>(),
                                                                                             "stop after this stage: quantize")(
        "trace", "record what components chose (masks, labels, spectra), and the timeline of a device");
    p.add("experiment", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    std::vector<std::string> overrides = experiment_overrides(m);
    if (m.count("trace") > 0) overrides.push_back("trace=true");
    Experiment e = resolve_experiment(m["experiment"].as<std::string>(), overrides, program.registries);
    std::vector<std::string> notes;
    override_evaluations(e, evaluation_overrides(m), notes);
    for (const std::string& note : notes)
      log_info("note: {}", note);
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    const std::string out = m.count("output") > 0 ? m["output"].as<std::string>() : "";
    Runner runner(program.registries, runner_options(program, m));
    if (m.count("until") > 0) {
      if (m["until"].as<std::string>() != "quantize") throw UserError("--until {}: unknown stage; expected 'quantize'; leave it out to run everything", m["until"].as<std::string>());
      if (out.empty()) throw UserError("--until quantize: no output is named; expected -o DIR for the packed directory; add it");
      const PackedReport r = runner.quantize_only(e, out);
      print_packed(r, out, format);
      return ExitCode::kDone;
    }
    const std::string key = runner.key_of(e);
    try {
      const RunResult r = runner.run(e, out);
      if (r.reused) log_info("run {} is stored already", key.substr(0, 12));
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
