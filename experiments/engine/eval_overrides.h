// What --protocol, --text, --windows and --kl do to an experiment: they change entries of its evaluation list, all alike, and
// never put another list in its place.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/engine/experiment.h"

namespace sage {

struct EvalOverrides {
  std::optional<std::string> protocol = std::nullopt;
  std::optional<std::string> text = std::nullopt;
  std::optional<int64_t> windows = std::nullopt;
  std::optional<bool> kl = std::nullopt;

  bool any() const { return protocol || text || windows || kl; }
};

// Changes every evaluation of `e` (`resolved` included, with the option as the origin of each value). Of entries that become
// equal the first stays. `notes` gets a line for each change: "evaluation 1 of 2: windows 6 -> 2".
void override_evaluations(Experiment& e, const EvalOverrides& overrides, std::vector<std::string>& notes);

}  // namespace sage
