// Links: sage_experiments
// Any text as an experiment: parsed, merged, expanded and resolved. It may be refused with a sage::Error; nothing else may
// happen. What is accepted must keep its meaning when it is printed and read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "core/util/errors.h"
#include "experiments/engine/expand.h"
#include "strategies/builtin.h"

namespace {

const sage::Registries& registries() {
  static const sage::Registries* const all = [] {
    auto* r = new sage::Registries;
    sage::register_builtin(*r);
    return r;
  }();
  return *all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Entries of a sweep may extend files: keep away from those that never end.
  if (text.find("/dev") != text.npos || text.find("/proc") != text.npos) return 0;
  try {
    // The first line may be a --set for the rest, so that both parsers meet.
    sage::LoadedExperiment loaded;
    loaded.source = "fuzz.yaml";
    std::string_view body = text;
    if (text.starts_with("#set ")) {
      const size_t end = text.find('\n');
      loaded.overrides.push_back(sage::parse_override(text.substr(5, end == std::string_view::npos ? end : end - 5)));
      body = end == std::string_view::npos ? "" : text.substr(end + 1);
    }
    loaded.root = sage::parse_yaml(body, "fuzz.yaml");
    if (sage::canonical_json(sage::parse_yaml(sage::to_yaml(loaded.root), "printed")) != sage::canonical_json(loaded.root))
      abort();
    if (!loaded.root.is_map()) return 0;
    loaded.root.erase("extends");  // would read files
    const sage::Expansion expansion = sage::expand(loaded, registries());
    for (const sage::Point& p : expansion.points) {
      const sage::Experiment again =
          sage::resolve(sage::parse_yaml(sage::to_yaml(p.experiment.resolved), "printed"), "fuzz.yaml", registries());
      if (sage::canonical_json(again.resolved) != sage::canonical_json(p.experiment.resolved)) abort();
    }
  } catch (const sage::Error& e) {
    if (e.code() == sage::ExitCode::kInternalError) abort();
  }
  return 0;
}
