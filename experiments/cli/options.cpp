#include "experiments/cli/options.h"

#include "core/pipeline/pipeline_config.h"

namespace sage {

std::vector<std::string> pipeline_overrides(const boost::program_options::variables_map& m) {
  std::vector<std::string> out;
  if (m.count("set") == 0) return out;
  for (const std::string& text : m["set"].as<std::vector<std::string>>()) {
    const std::string first = text.substr(0, text.find_first_of(".="));
    bool slot = first == "coder";
    for (const PipelineSlot& s : pipeline_slots()) slot |= first == s.path;
    for (const ParamInfo& p : pipeline_parameters()) slot |= first == p.name;
    out.push_back(slot ? "pipeline." + text : text);
  }
  return out;
}

}  // namespace sage
