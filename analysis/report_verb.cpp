#include <boost/program_options/value_semantic.hpp>

#include "analysis/labels.h"
#include "analysis/output.h"
#include "analysis/published_report.h"
#include "analysis/report.h"
#include "analysis/seeds.h"
#include "analysis/timing_bars.h"
#include "analysis/verbs.h"
#include "experiments/engine/provenance.h"

namespace sage {

namespace po = boost::program_options;

namespace {

std::string bars_of(std::vector<SelectedRun> runs) {
  tell_apart(runs);
  return timing_bars(runs);
}

}  // namespace

Verb report_verb() {
  Verb verb;
  verb.name = "report";
  verb.summary = "Prints a table of runs: the columns that vary, the rest in its caption; alone or beside published numbers.";
  verb.synopsis =
      "[RUN.h5 | SWEEP | STORE | KEY]... [--sweep NAME-or-FILE] [--table NAME-or-FILE] [--each] [--time] [--published] "
      "[--format table|md|latex|csv|json] [-o FILE]";
  verb.declare = [](po::options_description& options, po::positional_options_description& positional) {
    auto add = options.add_options();
    add("selection", po::value<std::vector<std::string>>(),
        "run files, sweep.json files or folders, beginnings of run keys (default: the whole store)");
    add("sweep", po::value<std::vector<std::string>>(),
        "name of a sweep in the store, its sweep.json, or a text file of run keys");
    add("table", po::value<std::string>(), "columns: a file, or the name of one in analysis/tables (audit, bits, cost)");
    add("each", po::bool_switch(),
        "a row for every run, also where runs differ only in their seeds (default: their mean and spread)");
    add("time", po::bool_switch(), "on a terminal, a bar per run of where its time went, as --table cost does");
    add("published", po::bool_switch(), "published by the authors | rerun by others | these runs, per model and method");
    add("published-only", po::value<std::string>(), "the published numbers of a model (or of all), without runs");
    declare_output(options);
    positional.add("selection", -1);
  };
  verb.run = [](const Program&, const po::variables_map& vm) {
    const TableFormat format = chosen_format(vm);
    if (vm.count("published-only")) {
      deliver(make_published_table(read_published(), vm["published-only"].as<std::string>()).render(format), vm);
      return ExitCode::kDone;
    }
    const TableSpec spec = vm.count("table") ? read_table_spec(vm["table"].as<std::string>()) : default_table_spec();
    std::vector<std::string> words;
    for (const char* option : {"selection", "sweep"})
      if (vm.count(option))
        for (const std::string& word : vm[option].as<std::vector<std::string>>())
          words.push_back(word);
    const Store store = chosen_store(vm);
    if (vm["published"].as<bool>()) {
      deliver(make_published_comparison(read_published(), select_runs(words, store, RunParts::kAll)).render(format), vm);
      return ExitCode::kDone;
    }
    std::vector<SelectedRun> runs = select_runs(words, store, RunParts::kSummary);
    const bool by_seed = !vm["each"].as<bool>() && repeats_seeds(runs);
    if (by_seed) runs = select_runs(words, store, RunParts::kAll);  // windows, for errors
    Table table = by_seed ? make_seed_report(runs, spec) : make_report(runs, spec);
    std::vector<std::pair<std::string, const RunRecord*>> labelled;
    for (const SelectedRun& run : runs)
      if (run.record) labelled.emplace_back(run.label, &*run.record);
    if (const std::string note = other_builds_note(labelled); !note.empty()) table.set_caption(table.caption() + (table.caption().empty() ? "" : "\n") + note);
    std::string text = table.render(format);
    if (format == TableFormat::kText && (spec.bars || vm["time"].as<bool>()))
      if (const std::string bars = bars_of(by_seed ? merge_seeds(runs) : runs); !bars.empty()) text += '\n' + bars;
    deliver(text, vm);
    return ExitCode::kDone;
  };
  return verb;
}

}  // namespace sage
