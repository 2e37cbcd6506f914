// What is said of an operation beside its bound, on a machine that is slowed down for some time: simulated, so nothing is
// timed.
#include "kernels/bench/interleave.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/util/random.h"

namespace sage::bench {
namespace {

// A clock beside which other programs come and go: quiet and busy spells in turn, and work takes `slow` times as long in the
// busy ones.
class Machine {
 public:
  Machine(uint64_t seed, bool busy_first) : random_(seed, "machine"), busy_(busy_first) { spell(); }
  // Does `work` quiet seconds of work; returns how long it took.
  double takes(double work) {
    double seconds = 0;
    while (work > 0) {
      const double speed = busy_ ? 1 / slow_ : 1, step = std::min(work / speed, left_);
      seconds += step;
      work -= step * speed;
      left_ -= step;
      if (left_ <= 0) {
        busy_ = !busy_;
        spell();
      }
    }
    return seconds;
  }

 private:
  void spell() {
    left_ = 0.05 + 0.5 * random_.uniform();
    slow_ = 2 + 40 * random_.uniform();
  }
  Rng random_;
  bool busy_;
  double left_ = 0, slow_ = 1;
};

TEST(Interleave, FractionsDoNotDependOnWhenTheMachineIsBusy) {
  struct Case {
    double operation, bound;  // quiet seconds
  };
  for (const Case& c : {Case{0.001, 0.010}, {0.010, 0.001}, {0.015, 0.015}, {0.0001, 0.015}})
    for (uint64_t seed = 0; seed < 200; ++seed)
      for (const bool busy_first : {false, true}) {
        Machine machine(seed, busy_first);
        Interleave turns([&] { return machine.takes(c.operation); }, [&] { return machine.takes(c.bound); });
        for (double total = 0; total < 2;) {
          if (turns.bound_is_due()) turns.time_bound();
          turns.time_operation();
          total += turns.operation_seconds();
        }
        turns.finish();
        const double ratio = turns.bound_seconds() / turns.operation_seconds() / (c.bound / c.operation);
        EXPECT_NEAR(ratio, 1, 1e-6) << c.operation << " beside " << c.bound << ", seed " << seed << ", busy first "
                                    << busy_first;
      }
}

TEST(Interleave, LongOperationsHaveSeveralPassesBesideThem) {
  int passes = 0;
  double clock = 0;
  std::vector<double> at;
  Interleave turns([&] { return clock += 10, 10.0; }, [&] { return ++passes, at.push_back(clock), clock += 1, 1.0; });
  if (turns.bound_is_due()) turns.time_bound();
  turns.time_operation();
  turns.finish();
  EXPECT_EQ(passes, Interleave::kLeastPasses);
  EXPECT_LT(at.front(), 10);
  EXPECT_GT(at.back(), 10);
}

TEST(Interleave, TimeIsShared) {
  double operation = 0, bound = 0;
  Interleave turns([&] { return operation += 0.001, 0.001; }, [&] { return bound += 0.03, 0.03; });
  for (int i = 0; i < 1000; ++i) {
    if (turns.bound_is_due()) turns.time_bound();
    turns.time_operation();
  }
  EXPECT_NEAR(bound / operation, 1, 0.05);
}

TEST(Interleave, WithoutABoundOnlyTheOperationRuns) {
  Interleave turns([] { return 2.0; }, {});
  EXPECT_FALSE(turns.bound_is_due());
  turns.time_operation();
  turns.finish();
  EXPECT_EQ(turns.operation_seconds(), 2);
}

}  // namespace
}  // namespace sage::bench
