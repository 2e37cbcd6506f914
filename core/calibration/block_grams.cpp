#include "core/calibration/block_grams.h"

#include <algorithm>
#include <utility>

#include "core/util/errors.h"

namespace sage {

BlockGrams::BlockGrams(int layer, std::vector<std::string> groups, GramPrecision precision, const Backend& backend)
    : layer_(layer), groups_(std::move(groups)), precision_(precision), backend_(backend) {}

InputObserver BlockGrams::observer(int64_t sequences) {
  return [this, sequences](const std::string& group, WeightView input) {
    if (std::find(groups_.begin(), groups_.end(), group) == groups_.end()) return;
    auto it = grams_.find(group);
    if (it == grams_.end())
      it = grams_.try_emplace(group, fmt::format("layer {} {}", layer_, group), input.cols, precision_, backend_).first;
    it->second.add(input, sequences);
  };
}

std::map<std::string, Gram> BlockGrams::finish() {
  std::map<std::string, Gram> out;
  for (const std::string& group : groups_) {
    const auto it = grams_.find(group);
    if (it == grams_.end())
      throw RunError(
          "layer {} {}: no calibration input was seen; expected at least one sequence; check that the layer runs in the "
          "forward "
          "pass",
          layer_, group);
    out.emplace(group, it->second.finish());
  }
  grams_.clear();
  return out;
}

}  // namespace sage
