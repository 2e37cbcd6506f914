// Sums over the magnitudes of a set of weights, below any cut, without sorting the set.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/backend/backend.h"
#include "core/tensor/mask.h"

namespace sage {

// Built from the backend's magnitude histogram (relative bin width 2^-11), or, for small sets, from the sorted magnitudes,
// which is exact. Inside a bin the members are taken as spread evenly, so that below() is continuous in the cut and Lloyd's
// iteration does not stall between two bins. An optimal cut moves by less than a bin against the exact one, which changes the
// squared error by the square of that: below 1e-6 relative.
class MagnitudeProfile {
 public:
  struct Sums {
    double count = 0;
    double sum = 0;     // sum |w|
    double sq_sum = 0;  // sum w^2
  };
  static constexpr int64_t kExactLimit = 65536;  // sets up to this size are sorted

  MagnitudeProfile(const Backend& backend, WeightView w, const Selection& own);

  Sums total() const { return total_; }
  Sums below(double cut) const;  // over |w| < cut
  // Cuts that divide the set into `groups` of equal count, interpolated inside bins: a start for Lloyd's iteration.
  std::vector<double> equal_count_cuts(int64_t groups) const;
  // The magnitudes of the given ranks (0-based, ascending), exactly: gathers the members of the bins concerned from w.
  std::vector<float> order_statistics(WeightView w, const Selection& own, std::span<const int64_t> ranks) const;

  // Mean |w| of the groups between consecutive cuts; an empty group gets the middle of its interval, so that means ascend.
  std::vector<double> means(std::span<const double> cuts) const;
  // sum (|w| - mean of its group)^2.
  double squared_error(std::span<const double> cuts) const;
  // Lloyd's iteration in place: cuts become the midpoints of the group means, until the squared error falls by less than
  // `tolerance` relative or `steps` are done. Cost: O(groups) per step (O(groups log n) for sorted sets). Returns the steps
  // made.
  int lloyd(std::vector<double>& cuts, int steps, double tolerance) const;

 private:
  double edge(int64_t bin) const;
  double value_at(double rank) const;
  bool sorted_ = false;
  int shift_ = 0;
  int64_t first_ = 0;          // first bin kept
  std::vector<float> values_;  // sorted_: the magnitudes
  std::vector<Sums> prefix_;   // prefix_[b]: sums over bins (or values) before b
  Sums total_;
};

}  // namespace sage
