#include "analysis/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace sage {
namespace {

constexpr size_t kKeyShown = 10;
constexpr size_t kMostSettings = 3;  // more of them say less than a key

// Names, what decides no number, and what has columns of its own.
bool is_setting(const std::string& path) {
  for (const char* other : {"name", "label", "about", "trace", "keep_packed", "model.path"})
    if (path == other) return false;
  return !path.starts_with("eval[");
}

// "pipeline.grouping.type" -> "grouping"
std::string short_path(std::string path) {
  for (const std::string_view prefix : {"pipeline."})
    if (path.starts_with(prefix)) path.erase(0, prefix.size());
  if (path.ends_with(".type")) path.resize(path.size() - std::string_view(".type").size());
  return path;
}

std::map<std::string, std::vector<size_t>> by_label(const std::vector<SelectedRun>& runs) {
  std::map<std::string, std::vector<size_t>> out;
  for (size_t i = 0; i < runs.size(); ++i)
    if (runs[i].record) out[runs[i].label].push_back(i);
  return out;
}

void add_settings(std::vector<SelectedRun>& runs, const std::vector<size_t>& alike) {
  std::map<std::string, std::map<size_t, std::string>> values;
  for (const size_t i : alike)
    for (const ConfigEntry& e : runs[i].record->config)
      if (is_setting(e.path)) values[e.path][i] = e.value;
  std::erase_if(values, [&](const auto& entry) {
    std::set<std::string> different;
    for (const auto& [run, value] : entry.second)
      different.insert(value);
    return different.size() == 1 && entry.second.size() == alike.size();
  });
  if (values.size() > kMostSettings) return;
  for (const auto& [path, of_run] : values)
    for (const auto& [i, value] : of_run)
      runs[i].label += fmt::format(", {}={}", short_path(path), value);
}

}  // namespace

void tell_apart(std::vector<SelectedRun>& runs) {
  for (const auto& [label, alike] : by_label(runs))
    if (alike.size() > 1) add_settings(runs, alike);
  for (const auto& [label, alike] : by_label(runs)) {
    if (alike.size() < 2) continue;
    for (const size_t i : alike)
      if (const std::string& key = runs[i].record->run_key; !key.empty()) runs[i].label += ' ' + key.substr(0, kKeyShown);
  }
  for (const auto& [label, alike] : by_label(runs))
    for (size_t n = 1; n < alike.size(); ++n)
      runs[alike[n]].label += fmt::format(" ({})", n + 1);
}

}  // namespace sage
