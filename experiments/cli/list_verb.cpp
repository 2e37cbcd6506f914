// sageptq list: what can be named in an experiment file.
#include <fmt/format.h>

#include "experiments/cli/catalogue.h"
#include "experiments/cli/verbs.h"

namespace sage {
namespace po = boost::program_options;

Verb list_verb() {
  Verb v;
  v.name = "list";
  v.summary = "Lists components, presets, model families, protocols and backends.";
  v.synopsis = "[KIND] [--format table|md|latex|csv|json]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()(
        "kind", po::value<std::string>(),
        "saliency, grouping, quantizer, threshold, transform, compensator, coder, components (all of these), presets, "
        "families, protocols or backends; default: components and presets")(
        "format", po::value<std::string>()->default_value("table"),
        "table, md, latex, csv or json; md prints one table per kind");
    p.add("kind", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    const Registries& r = program.registries;
    if (m.count("kind") > 0 && (format != TableFormat::kMarkdown || m["kind"].as<std::string>() != "components")) {
      fmt::print("{}", catalogue_table(r, m["kind"].as<std::string>()).render(format));
      return ExitCode::kDone;
    }
    if (format == TableFormat::kCsv || format == TableFormat::kJson) {  // one table, so that a program can read it
      fmt::print("{}", catalogue_table(r, "components").render(format));
      return ExitCode::kDone;
    }
    std::vector<std::string> kinds = component_kinds(r);
    if (m.count("kind") == 0) kinds.push_back("presets");
    bool first = true;
    for (const std::string& kind : kinds) {
      const Table t = catalogue_table(r, kind);
      if (t.rows().empty()) continue;
      fmt::print("{}{}{}\n\n{}", first ? "" : "\n", format == TableFormat::kMarkdown ? "### " : "", kind, t.render(format));
      first = false;
    }
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
