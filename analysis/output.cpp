#include "analysis/output.h"

#include <boost/program_options/value_semantic.hpp>
#include <cstdio>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/output_path.h"

namespace sage {

namespace po = boost::program_options;

void declare_output(po::options_description& options) {
  auto add = options.add_options();
  add("store", po::value<std::string>(), "store of runs (default: $SAGEPTQ_STORE, else results/store)");
  add("format", po::value<std::string>(), "table, md, latex, csv or json (default: by the ending of --output, else table)");
  add("output,o", po::value<std::string>(), "file to write instead of stdout");
}

Store chosen_store(const po::variables_map& vm) {
  return Store(vm.count("store") ? vm["store"].as<std::string>() : Store::default_root());
}

TableFormat chosen_format(const po::variables_map& vm) {
  if (vm.count("format")) return parse_table_format(vm["format"].as<std::string>());
  const std::string output = vm.count("output") ? vm["output"].as<std::string>() : "";
  if (output.ends_with(".md")) return TableFormat::kMarkdown;
  if (output.ends_with(".tex")) return TableFormat::kLatex;
  if (output.ends_with(".csv")) return TableFormat::kCsv;
  if (output.ends_with(".json")) return TableFormat::kJson;
  return TableFormat::kText;
}

void deliver(const std::string& text, const po::variables_map& vm) {
  if (vm.count("output")) {
    const std::string path = output_file_path(vm["output"].as<std::string>());
    chosen_store(vm).keep_out(path);
    write_file_atomically(path, text);
    return;
  }
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw ResourceError(
        "stdout: the table could not be written whole; expected an open pipe with room behind it; write to a file with -o");
}

}  // namespace sage
