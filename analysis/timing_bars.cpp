#include "analysis/timing_bars.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sage {
namespace {

constexpr const char* kCells[] = {"█", "▓", "▒", "░"};

std::string kind_of(const std::string& stage) { return stage.substr(0, stage.find(' ')); }

// Characters, not bytes.
size_t length_of(const std::string& s) {
  return static_cast<size_t>(std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

struct Bar {
  std::string label;
  std::vector<double> seconds;  // by kind
  double total = 0;
};

}  // namespace

std::string timing_bars(const std::vector<SelectedRun>& runs, int width) {
  std::vector<std::string> kinds{"calibrate", "quantize", "evaluate"};
  for (const SelectedRun& run : runs)
    if (run.record)
      for (const StageRow& s : run.record->timing)
        if (std::find(kinds.begin(), kinds.end(), kind_of(s.stage)) == kinds.end()) kinds.push_back(kind_of(s.stage));

  std::vector<Bar> bars;
  double longest = 0;
  size_t label_width = 0;
  for (const SelectedRun& run : runs) {
    if (!run.record || !run.record->complete()) continue;
    Bar bar{run.label, std::vector<double>(kinds.size()), 0};
    for (const StageRow& s : run.record->timing) {
      const auto k = std::find(kinds.begin(), kinds.end(), kind_of(s.stage)) - kinds.begin();
      const double seconds = std::isfinite(s.seconds) ? std::max(0.0, s.seconds) : 0;
      bar.seconds[static_cast<size_t>(k)] += seconds;
      bar.total += seconds;
    }
    if (bar.total <= 0) continue;
    longest = std::max(longest, bar.total);
    label_width = std::max(label_width, length_of(bar.label));
    bars.push_back(std::move(bar));
  }
  if (bars.empty()) return "";

  std::string out = "Where the time went:";
  for (size_t k = 0; k < kinds.size(); ++k)
    if (std::any_of(bars.begin(), bars.end(), [&](const Bar& b) { return b.seconds[k] > 0; }))
      out += fmt::format("  {} {}", kCells[std::min(k, std::size(kCells) - 1)], kinds[k]);
  out += '\n';
  for (const Bar& bar : bars) {
    out += bar.label + std::string(label_width - length_of(bar.label) + 2, ' ');
    double before = 0;
    int drawn = 0;
    std::string shares;
    for (size_t k = 0; k < kinds.size(); ++k) {
      before += bar.seconds[k];
      const int until = static_cast<int>(std::lround(before / longest * width));
      for (; drawn < until; ++drawn)
        out += kCells[std::min(k, std::size(kCells) - 1)];
      if (bar.seconds[k] > 0)
        shares += fmt::format("{}{} {:.0f} %", shares.empty() ? "" : ", ", kinds[k], 100 * bar.seconds[k] / bar.total);
    }
    out += std::string(static_cast<size_t>(width - drawn + 2), ' ') + fmt::format("{:.1f} s: {}\n", bar.total, shares);
  }
  return out;
}

}  // namespace sage
