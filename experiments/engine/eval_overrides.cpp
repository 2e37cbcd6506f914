#include "experiments/engine/eval_overrides.h"

#include <fmt/format.h>

#include <algorithm>

namespace sage {
namespace {

std::string shown(const std::string& text) { return text; }
std::string shown(bool on) { return on ? "true" : "false"; }
std::string shown(int64_t windows) { return windows == 0 ? "all" : std::to_string(windows); }

std::string written(const std::string& text) { return text; }
std::string written(bool on) { return shown(on); }
std::string written(int64_t number) { return std::to_string(number); }

}  // namespace

void override_evaluations(Experiment& e, const EvalOverrides& o, std::vector<std::string>& notes) {
  if (!o.any()) return;
  Value* resolved = e.resolved.find("eval");
  if (e.eval.empty()) {
    notes.push_back("the experiment evaluates nothing (eval: []), so --protocol, --text, --windows and --kl change nothing");
    return;
  }
  const size_t count = e.eval.size();
  for (size_t i = 0; i < count; ++i) {
    std::string changes;
    const auto change = [&](const char* key, auto& now, const auto& wanted) {
      if (!wanted || *wanted == now) return;
      changes += fmt::format("{}{} {} -> {}", changes.empty() ? "" : ", ", key, shown(now), shown(*wanted));
      now = *wanted;
      resolved->items()[i].set(key, Value::scalar(written(now), {std::string("--") + key, 0, 0}));
    };
    EvalSpec& spec = e.eval[i];
    change("protocol", spec.protocol, o.protocol);
    change("text", spec.text, o.text);
    change("windows", spec.windows, o.windows);
    change("kl", spec.kl, o.kl);
    if (!changes.empty()) notes.push_back(fmt::format("evaluation {} of {}: {}", i + 1, count, changes));
  }
  std::vector<size_t> places(count);  // of the entries that are left, as they were numbered
  for (size_t i = 0; i < count; ++i)
    places[i] = i + 1;
  for (size_t i = 1; i < e.eval.size();) {
    const auto first = std::find(e.eval.begin(), e.eval.begin() + static_cast<std::ptrdiff_t>(i), e.eval[i]);
    if (first == e.eval.begin() + static_cast<std::ptrdiff_t>(i)) {
      ++i;
      continue;
    }
    notes.push_back(fmt::format("evaluation {} of {} is now equal to evaluation {} and is left out", places[i], count,
                                places[static_cast<size_t>(first - e.eval.begin())]));
    e.eval.erase(e.eval.begin() + static_cast<std::ptrdiff_t>(i));
    places.erase(places.begin() + static_cast<std::ptrdiff_t>(i));
    resolved->items().erase(resolved->items().begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace sage
