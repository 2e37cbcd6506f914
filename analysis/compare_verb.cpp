#include <boost/program_options/value_semantic.hpp>

#include "analysis/compare.h"
#include "analysis/output.h"
#include "analysis/verbs.h"

namespace sage {

namespace po = boost::program_options;

namespace {

std::string render(const Comparison& c, TableFormat format) {
  const std::string configuration = c.configuration.render(format), metrics = c.metrics.render(format);
  if (format == TableFormat::kJson) return "{\"configuration\": " + configuration + ",\n\"metrics\": " + metrics + "}\n";
  return configuration + '\n' + metrics;
}

}  // namespace

Verb compare_verb() {
  Verb verb;
  verb.name = "compare";
  verb.summary = "Shows what two or more runs set differently and what came of it, paired window by window.";
  verb.synopsis = "RUN RUN... [--store DIR] [--format table|md|latex|csv|json] [-o FILE]";
  verb.declare = [](po::options_description& options, po::positional_options_description& positional) {
    options.add_options()("run", po::value<std::vector<std::string>>(),
                          "run files, folders with one, or beginnings of run keys; the first is the base");
    declare_output(options);
    positional.add("run", -1);
  };
  verb.run = [](const Program&, const po::variables_map& vm) {
    const TableFormat format = chosen_format(vm);
    const auto words = vm.count("run") ? vm["run"].as<std::vector<std::string>>() : std::vector<std::string>{};
    const std::vector<SelectedRun> runs =
        words.empty() ? std::vector<SelectedRun>{} : select_runs(words, chosen_store(vm), RunParts::kAll);
    if (runs.size() < 2)
      throw UserError("compare: found {} run{}; expected at least two; name two run files or keys", runs.size(),
                      runs.size() == 1 ? "" : "s");
    for (const SelectedRun& run : runs) {
      if (!run.record) throw ResourceError("{}: {}; expected a complete run; run it first", run.label, run.problem);
      if (!run.record->complete())
        throw ResourceError("{}: failed (exit {}: {}); expected a complete run; run it again", run.label,
                            run.record->failure.exit_code, run.record->failure.message);
    }
    deliver(render(compare_runs(runs), format), vm);
    return ExitCode::kDone;
  };
  return verb;
}

}  // namespace sage
