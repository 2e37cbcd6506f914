#include "strategies/threshold/scan.h"

#include <utility>

namespace sage::threshold {

double Scan::at(double ratio) {
  for (const auto& p : path_)
    if (p.cut.value == ratio) return p.objective;
  const Cut cut{Cut::Unit::kRatio, ratio};
  const TrialResult r = problem_.trial(cut);
  path_.push_back({cut, r, objective_.value(r)});
  return path_.back().objective;
}

void Scan::grid(double lo, double hi, int points) {
  at(lo);
  for (int i = 1; i < points; ++i)
    at(i + 1 == points ? hi : lo + (hi - lo) * i / (points - 1));
}

size_t Scan::best() const {
  size_t b = 0;
  for (size_t i = 1; i < path_.size(); ++i)
    if (path_[i].objective < path_[b].objective) b = i;
  return b;
}

SearchOutcome Scan::outcome() && {
  const size_t b = best();
  SearchOutcome out;
  out.cut = path_[b].cut;
  out.objective = path_[b].objective;
  out.path = std::move(path_);
  return out;
}

}  // namespace sage::threshold
