#include "analysis/table_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "analysis/shipped.h"
#include "core/config/schema.h"
#include "core/config/value.h"
#include "core/util/errors.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

void check_column(const Value& where, const std::string& name) {
  if (is_table_column(name)) return;
  const std::string near = nearest_name(name, table_column_names());
  throw UserError("{}: found column '{}'; expected one of {}{}", where.where().str(), name,
                  fmt::join(table_column_names(), ", "),
                  near.empty() ? "; correct the spelling" : fmt::format("; did you mean '{}'?", near));
}

ColumnSpec parse_column(const Value& v) {
  ColumnSpec c;
  if (v.is_scalar()) {
    c.column = v.text();
  } else {
    struct Params {
      std::string column, title;
      int decimals = -1;
    };
    const Params p = Schema<Params>{}
                         .add("column", &Params::column, "What is shown.")
                         .add("title", &Params::title, "Heading.")
                         .add("decimals", &Params::decimals, range(0, 12), "Digits after the point.")
                         .parse(v, "a table column");
    c = {p.column, p.title, p.decimals};
  }
  check_column(v, c.column);
  return c;
}

std::string find_table_spec(const std::string& name) {
  if (fs::is_regular_file(name)) return name;
  std::vector<std::string> known;
  for (const fs::path& folder : shipped_folders("tables")) {
    if (fs::path file = folder / (name + ".yaml"); fs::is_regular_file(file)) return file.string();
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(folder, ec))
      if (entry.path().extension() == ".yaml") known.push_back(entry.path().stem().string());
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  throw UserError("--table: found '{}'; expected a file or one of: {}; see analysis/tables", name, fmt::join(known, ", "));
}

}  // namespace

const std::vector<std::string>& table_column_names() {
  static const std::vector<std::string> names{"label",
                                              "status",
                                              "run",
                                              "perplexity",
                                              "kl",
                                              "top1",
                                              "metric.",
                                              "D",
                                              "gram_loss",
                                              "groups",
                                              "threshold_cut",
                                              "percdamp",
                                              "damping_retries",
                                              "dead_columns",
                                              "excess_stored",
                                              "excess_paper",
                                              "paper_bits",
                                              "paper_weight_bits",
                                              "paper_scaling_bits",
                                              "stored_bits",
                                              "matrices",
                                              "whole_model_bits",
                                              "file_mib",
                                              "peak_gib",
                                              "device_gib",
                                              "seconds",
                                              "seconds.",
                                              "model",
                                              "text",
                                              "protocol",
                                              "windows",
                                              "backend",
                                              "device",
                                              "commit",
                                              "config."};
  return names;
}

bool is_table_column(const std::string& name) {
  return std::any_of(table_column_names().begin(), table_column_names().end(), [&](const std::string& known) {
    return known.back() == '.' ? name.size() > known.size() && name.starts_with(known) : name == known;
  });
}

TableSpec default_table_spec() {
  TableSpec spec;
  for (const char* name : {"label", "perplexity", "kl", "top1", "D", "gram_loss", "paper_bits", "stored_bits", "matrices",
                           "whole_model_bits", "peak_gib", "device_gib", "seconds", "run"})
    spec.columns.push_back({name, "", -1});
  return spec;
}

TableSpec read_table_spec(const std::string& name_or_path) {
  const std::string path = find_table_spec(name_or_path);
  Value root = parse_yaml_file(path);
  struct Params {
    std::string title, sort;
    bool keep_constant = false;
    bool bars = false;
  };
  const Params p = Schema<Params>{}
                       .add("title", &Params::title, "First sentence of the caption.")
                       .add("sort", &Params::sort, "Column whose values order the rows.")
                       .add("keep_constant", &Params::keep_constant, "Columns equal in every row stay columns.")
                       .add("bars", &Params::bars, "On a terminal, a bar per run of where its time went.")
                       .parse(root, "a table", {"columns"});
  TableSpec spec;
  spec.title = p.title;
  spec.sort = p.sort;
  spec.keep_constant = p.keep_constant;
  spec.bars = p.bars;
  if (!spec.sort.empty()) check_column(*root.find("sort"), spec.sort);
  const Value* columns = root.find("columns");
  if (columns == nullptr || !columns->is_list() || columns->items().empty())
    throw UserError(
        "{}: found no list `columns`; expected the columns of the table; add `columns: [label, perplexity, stored_bits]`",
        path);
  for (const Value& v : columns->items())
    spec.columns.push_back(parse_column(v));
  return spec;
}

}  // namespace sage
