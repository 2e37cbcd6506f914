// Trials of a search: evaluated once each, kept in order.
#pragma once

#include <cstddef>

#include "strategies/threshold/objective.h"

namespace sage::threshold {

class Scan {
 public:
  Scan(const SearchProblem& problem, const Objective& objective) : problem_(problem), objective_(objective) {}

  // The objective at ratio r; a ratio seen before is not tried again.
  double at(double ratio);
  // points evenly spaced ratios from lo to hi, both included (only lo if they are equal).
  void grid(double lo, double hi, int points);
  // The first of the best evaluations.
  size_t best() const;
  SearchOutcome outcome() &&;
  const std::vector<SearchOutcome::Point>& path() const { return path_; }

 private:
  const SearchProblem& problem_;
  const Objective& objective_;
  std::vector<SearchOutcome::Point> path_;
};

}  // namespace sage::threshold
