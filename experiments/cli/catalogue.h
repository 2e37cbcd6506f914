// What this program knows by name: components, presets, model families, protocols, backends.
#pragma once

#include <string>
#include <vector>

#include "core/strategy/registries.h"
#include "core/util/table.h"

namespace sage {

std::vector<std::string> component_kinds(const Registries& registries);  // "saliency", "grouping", ...
std::vector<std::string> catalogue_kinds(const Registries& registries);  // those and "components", "presets", "families", ...
std::vector<std::string> protocol_names();

// One table of a kind ("grouping", "presets", ...). UserError with the kinds otherwise.
Table catalogue_table(const Registries& registries, const std::string& kind);
// "groups = 4 (2 .. 16), refine = 0": the parameters of a component in one cell.
std::string parameters_in_short(const ComponentInfo& component);
Table parameter_table(const std::vector<ParamInfo>& params);

}  // namespace sage
