#include "experiments/cli/completion.h"

#include <algorithm>
#include <boost/program_options/cmdline.hpp>
#include <set>

#include "core/pipeline/pipeline_config.h"
#include "experiments/cli/catalogue.h"
#include "experiments/cli/command_line.h"
#include "experiments/engine/experiment.h"
#include "kernels/backends.h"

namespace sage {
namespace {

using Names = std::vector<std::string>;

void append(Names& to, Names more) {
  for (std::string& m : more)
    to.push_back(std::move(m));
}

Names preset_names() {
  Names out;
  for (const PresetInfo& p : list_presets())
    out.push_back(p.name);
  return out;
}

Names component_names(const Registries& registries, std::string_view kind = "") {
  Names out;
  for (const ComponentInfo& c : registries.all())
    if (kind.empty() || c.kind == kind) out.push_back(c.name);
  return out;
}

// "PATH=" for --set, or "PATH=VALUE" once a path with known values was typed.
Names assignments(const Program& program, const std::string& typed) {
  Names out;
  const size_t equals = typed.find('=');
  const auto offer = [&](const std::string& path, const Names& values) {
    if (equals == std::string::npos) {
      out.push_back(path + "=");
    } else if (typed.compare(0, equals, path) == 0 && equals == path.size()) {
      for (const std::string& v : values)
        out.push_back(path + "=" + v);
    }
  };
  const auto offer_parameters = [&](const std::string& prefix, const std::vector<ParamInfo>& params) {
    for (const ParamInfo& p : params) {
      Names values;
      if (p.type == "bool") values = {"true", "false"};
      if (p.type == "choice")
        for (size_t at = 0; at != std::string::npos;) {
          const size_t bar = p.constraint.find(" | ", at);
          values.push_back(p.constraint.substr(at, bar == std::string::npos ? bar : bar - at));
          at = bar == std::string::npos ? bar : bar + 3;
        }
      offer(prefix + p.name, values);
    }
  };
  for (const auto& [section, params] : experiment_parameters())
    offer_parameters(section == "experiment" ? "" : section == "eval" ? "eval.0." : section + ".", params);
  for (const PipelineSlot& slot : pipeline_slots()) {
    const std::string path = std::string("pipeline.") + slot.path;
    offer(path, component_names(program.registries, slot.kind));
    offer(path + ".type", component_names(program.registries, slot.kind));
    for (const ComponentInfo& c : program.registries.all())
      if (c.kind == slot.kind) offer_parameters(path + ".", c.params);
  }
  return out;
}

Names option_values(const Program& program, const std::string& option, const std::string& typed) {
  if (option == "--set") return assignments(program, typed);
  if (option == "--method") return preset_names();
  if (option == "--format") return {"table", "md", "csv", "json", "latex"};
  if (option == "--protocol") return protocol_names();
  if (option == "--device") return backend_names();
  return {};
}

Names arguments(const Program& program, const std::vector<Verb>& verbs, const std::string& verb) {
  Names out;
  if (verb == "help") {
    for (const Verb& v : verbs)
      if (!v.hidden) out.push_back(v.name);
  } else if (verb == "list") {
    out = catalogue_kinds(program.registries);
  } else if (verb == "describe") {
    out = component_names(program.registries);
    append(out, preset_names());
    for (const auto& section : experiment_parameters())
      out.push_back(section.first);
  } else if (verb == "run" || verb == "sweep" || verb == "check") {
    out = preset_names();
  }
  return out;
}

bool takes_value(const Verb& verb, const std::string& option) {
  const VerbOptions options(verb);
  for (const auto& o : options.description.options()) {
    const bool named = option == "--" + o->long_name() ||
                       option == o->canonical_display_name(boost::program_options::command_line_style::allow_dash_for_short);
    if (named) return o->semantic()->max_tokens() > 0;
  }
  return false;
}

Names candidates(const Program& program, const std::vector<Verb>& verbs, const Names& words) {
  const std::string typed = words.empty() ? "" : words.back();
  size_t at = 0;
  while (at + 1 < words.size() && !words[at].empty() && words[at][0] == '-')
    at += words[at] == "--threads" ? 2 : 1;
  if (at + 1 >= words.size()) {
    if (at + 1 > words.size()) return {};  // the value of --threads
    Names out = {"--quiet", "--verbose", "--threads", "--version", "--help"};
    if (typed.empty() || typed[0] != '-') out = {"help"};
    if (typed.empty() || typed[0] != '-')
      for (const Verb& v : verbs)
        if (!v.hidden) out.push_back(v.name);
    return out;
  }
  const std::string& name = words[at];
  const auto verb = std::find_if(verbs.begin(), verbs.end(), [&](const Verb& v) { return v.name == name; });
  const std::string& before = words[words.size() - 2];
  if (verb != verbs.end()) {
    if (words.size() - 2 > at && takes_value(*verb, before)) return option_values(program, before, typed);
    if (const size_t equals = typed.find('='); typed.starts_with("--") && equals != std::string::npos) {
      Names out;
      for (const std::string& v : option_values(program, typed.substr(0, equals), typed.substr(equals + 1)))
        out.push_back(typed.substr(0, equals + 1) + v);
      return out;
    }
    if (!typed.empty() && typed[0] == '-') return VerbOptions(*verb).names();
  }
  return arguments(program, verbs, name);
}

}  // namespace

std::vector<std::string> complete(const Program& program, const std::vector<Verb>& verbs,
                                  const std::vector<std::string>& words) {
  const std::string typed = words.empty() ? "" : words.back();
  std::set<std::string> out;
  for (std::string& c : candidates(program, verbs, words))
    if (c.starts_with(typed)) out.insert(std::move(c));
  return {out.begin(), out.end()};
}

}  // namespace sage
