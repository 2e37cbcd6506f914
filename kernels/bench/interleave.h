// An operation and what bounds it, timed in turns: on a machine that does other work both meet the same quiet and the same busy
// moments, and the best of each is what the machine gives when it is quiet. A bound that was taken at another time than the
// operation may be any multiple of what bounds it.
#pragma once

#include <functional>
#include <limits>
#include <utility>

namespace sage::bench {

class Interleave {
 public:
  // Does its work once and returns the seconds it took.
  using Timed = std::function<double()>;

  // Without a bound only the operation is timed.
  Interleave(Timed operation, Timed bound) : operation_{std::move(operation)}, bound_{std::move(bound)} {}

  // Before the first operation, and whenever the bound has had no more time than the operation since.
  bool bound_is_due() const { return bound_.work && bound_.total <= operation_.total; }
  void time_operation() { operation_.time(); }
  void time_bound() { bound_.time(); }
  // What the bound is short of kLeastPasses.
  void finish() {
    while (bound_.work && bound_.passes < kLeastPasses)
      time_bound();
  }

  // The best of each; infinity where there was none.
  double operation_seconds() const { return operation_.best; }
  double bound_seconds() const { return bound_.best; }

  static constexpr int kLeastPasses = 3;

 private:
  struct Side {
    Timed work;
    double best = std::numeric_limits<double>::infinity(), total = 0;
    int passes = 0;
    void time() {
      const double seconds = work();
      best = seconds < best ? seconds : best;
      total += seconds;
      ++passes;
    }
  };
  Side operation_, bound_;
};

}  // namespace sage::bench
