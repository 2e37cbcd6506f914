// Where the time of each run went, as a stacked bar for terminals.
#pragma once

#include <string>
#include <vector>

#include "analysis/selection.h"

namespace sage {

// A line per complete run with a timing, all to one scale, and the key:
//
//   billm_released  ████████████▓▓▓▓▒▒▒▒▒▒▒▒   48.0 s: calibrate 50 %, quantize 17 %, evaluate 33 %
//   rtn             ▓▒▒▒▒▒▒▒▒                  17.0 s: quantize 12 %, evaluate 88 %
//
// Stages of one kind ("evaluate gptq-2048", "evaluate llamacpp-512") are one. The longest bar has `width` cells; the parts of
// a bar are rounded so that they add up to it. Empty where no run has a timing.
std::string timing_bars(const std::vector<SelectedRun>& runs, int width = 48);

}  // namespace sage
