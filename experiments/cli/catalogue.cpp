#include "experiments/cli/catalogue.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/eval/protocol.h"
#include "core/model/family.h"
#include "core/util/errors.h"
#include "experiments/engine/experiment.h"
#include "kernels/backends.h"

namespace sage {
namespace {

const std::vector<std::string> kOthers = {"components", "presets", "families", "protocols", "backends"};

std::string joined(const std::vector<std::string>& parts) { return fmt::format("{}", fmt::join(parts, ", ")); }

Table components(const Registries& registries, const std::string& kind) {
  const bool all = kind == "components";
  std::vector<Table::Column> columns = {{"name"}, {"what it does"}, {"parameters"}, {"source"}};
  if (all) columns.insert(columns.begin(), {"kind"});
  Table t(columns);
  for (const ComponentInfo& c : registries.all()) {
    if (!all && c.kind != kind) continue;
    std::vector<Table::Cell> row = {c.name, c.doc, parameters_in_short(c),
                                    c.reference.empty() ? Table::Cell() : Table::Cell(c.reference)};
    if (all) row.insert(row.begin(), Table::Cell(c.kind));
    t.add_row(row);
  }
  return t;
}

}  // namespace

std::vector<std::string> component_kinds(const Registries& registries) {
  return {registries.saliency.kind(),  registries.grouping.kind(),    registries.quantizer.kind(), registries.threshold.kind(),
          registries.transform.kind(), registries.compensator.kind(), registries.coder.kind()};
}

std::vector<std::string> catalogue_kinds(const Registries& registries) {
  std::vector<std::string> out = component_kinds(registries);
  out.insert(out.end(), kOthers.begin(), kOthers.end());
  return out;
}

std::vector<std::string> protocol_names() { return protocol_names_of_papers(); }

std::string parameters_in_short(const ComponentInfo& component) {
  std::vector<std::string> parts;
  for (const ParamInfo& p : component.params)
    parts.push_back(fmt::format("{} = {}{}", p.name, p.default_value, p.constraint.empty() ? "" : " (" + p.constraint + ")"));
  return joined(parts);
}

Table parameter_table(const std::vector<ParamInfo>& params) {
  Table t({{"parameter"}, {"type"}, {"default"}, {"allowed"}, {"meaning"}});
  for (const ParamInfo& p : params)
    t.add_row({p.name, p.type, p.default_value, p.constraint.empty() ? Table::Cell() : Table::Cell(p.constraint), p.doc});
  return t;
}

Table catalogue_table(const Registries& registries, const std::string& kind) {
  const std::vector<std::string> kinds = component_kinds(registries);
  if (kind == "components" || std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return components(registries, kind);
  if (kind == "presets") {
    Table t({{"preset"}, {"what it is"}, {"file"}});
    for (const PresetInfo& p : list_presets())
      t.add_row({p.name, p.about, p.path});
    return t;
  }
  if (kind == "families") {
    Table t({{"family"}, {"model_type of config.json"}});
    for (const Family& f : families())
      t.add_row({f.name, joined(f.model_types)});
    return t;
  }
  if (kind == "protocols") {
    Table t({{"protocol"}, {"what it does"}});
    for (const std::string& p : protocol_names())
      t.add_row({p, find_protocol(p).words()});
    return t;
  }
  if (kind == "backends") {
    Table t({{"backend"}, {"available"}, {"what it is"}});
    for (const BackendStatus& b : backend_status())
      t.add_row({b.name, b.available ? "yes" : "no", b.detail});
    return t;
  }
  const std::vector<std::string> all = catalogue_kinds(registries);
  const std::string near = nearest_name(kind, all);
  throw UserError("list: unknown kind '{}'; expected one of: {}{}", kind, joined(all),
                  near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

}  // namespace sage
