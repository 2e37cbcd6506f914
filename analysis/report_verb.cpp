#include <boost/program_options/value_semantic.hpp>

#include "analysis/output.h"
#include "analysis/report.h"
#include "analysis/verbs.h"

namespace sage {

namespace po = boost::program_options;

Verb report_verb() {
  Verb verb;
  verb.name = "report";
  verb.summary = "Prints a table of runs: the columns that vary, the rest in its caption.";
  verb.synopsis =
      "[RUN.h5 | SWEEP | STORE | KEY]... [--sweep NAME-or-FILE] [--table NAME-or-FILE] [--format table|md|latex|csv|json] [-o "
      "FILE]";
  verb.declare = [](po::options_description& options, po::positional_options_description& positional) {
    auto add = options.add_options();
    add("selection", po::value<std::vector<std::string>>(),
        "run files, sweep.json files or folders, beginnings of run keys (default: the whole store)");
    add("sweep", po::value<std::vector<std::string>>(),
        "name of a sweep in the store, its sweep.json, or a text file of run keys");
    add("table", po::value<std::string>(), "columns: a file, or the name of one in analysis/tables (audit, bits, cost)");
    declare_output(options);
    positional.add("selection", -1);
  };
  verb.run = [](const Program&, const po::variables_map& vm) {
    const TableFormat format = chosen_format(vm);
    const TableSpec spec = vm.count("table") ? read_table_spec(vm["table"].as<std::string>()) : default_table_spec();
    std::vector<std::string> words;
    for (const char* option : {"selection", "sweep"})
      if (vm.count(option))
        for (const std::string& word : vm[option].as<std::vector<std::string>>())
          words.push_back(word);
    deliver(make_report(select_runs(words, chosen_store(vm), RunParts::kSummary), spec).render(format), vm);
    return ExitCode::kDone;
  };
  return verb;
}

}  // namespace sage
