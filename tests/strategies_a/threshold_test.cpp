#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/util/errors.h"
#include "strategies/grouping/kmeans.h"
#include "strategies/saliency/sigma.h"
#include "strategies/threshold/brent.h"
#include "strategies/threshold/cap.h"
#include "strategies/threshold/fixed.h"
#include "strategies/threshold/grid.h"
#include "tests/strategies_a/support.h"

namespace sage::test {
namespace {

SearchProblem problem(std::function<TrialResult(double)> f, int bits = 4, int* calls = nullptr) {
  SearchProblem p;
  p.trial = [f, calls](const Cut& c) {
    if (calls != nullptr) ++*calls;
    return f(c.value);
  };
  p.paper_weight_bits = [bits](double r) { return 1 - r + bits * r; };
  p.weights = 1 << 20;
  return p;
}

TrialResult with_error(double d) { return {d, 1.0, 1.0}; }

TEST(FixedThreshold, RatioOrSigmasWithoutTrials) {
  int calls = 0;
  const SearchProblem p = problem([](double) { return with_error(1); }, 4, &calls);
  FixedThreshold::Params params;
  params.ratio = 0.02;
  EXPECT_EQ(FixedThreshold(params).search(p).cut.value, 0.02);
  EXPECT_EQ(FixedThreshold(params).unit(), Cut::Unit::kRatio);
  params.sigmas = 2.5;
  const SearchOutcome out = FixedThreshold(params).search(p);
  EXPECT_EQ(out.cut.unit, Cut::Unit::kSigmas);
  EXPECT_EQ(out.cut.value, 2.5);
  EXPECT_EQ(calls, 0);
  EXPECT_FALSE(FixedThreshold(params).needs_trials());
}

// 1.03 weight bits: (r, b) = (3 %, 2), (1.5 %, 3), (1 %, 4), (.75 %, 5), (.6 %, 6), (.43 %, 8).
TEST(CapThreshold, LargestShareUnderTheCap) {
  const double expected[][2] = {{2, 0.03}, {3, 0.015}, {4, 0.01}, {5, 0.0075}, {6, 0.006}, {8, 0.03 / 7}};
  for (const auto& [bits, ratio] : expected) {
    int calls = 0;
    const SearchProblem p = problem([](double) { return with_error(1); }, static_cast<int>(bits), &calls);
    const double r = CapThreshold({}).search(p).cut.value;
    EXPECT_NEAR(r, ratio, 1e-11);
    EXPECT_LE(p.paper_weight_bits(r), 1.03 + 1e-11);
    EXPECT_EQ(calls, 0);
  }
}

TEST(CapThreshold, EndsAtItsLimitsAndRefusesTheImpossible) {
  CapThreshold::Params params;
  params.bits = 9;
  params.max_ratio = 0.25;
  EXPECT_EQ(CapThreshold(params).search(problem([](double) { return with_error(1); })).cut.value, 0.25);
  params.bits = 0.9;
  EXPECT_THROW(CapThreshold(params).search(problem([](double) { return with_error(1); })), UserError);
}

TEST(GridThreshold, TakesTheFirstBestPoint) {
  GridThreshold::Params params;
  params.objective = Objective::Kind::kError;
  params.lo = 0;
  params.hi = 0.1;
  params.points = 11;
  const SearchOutcome out = GridThreshold(params).search(problem([](double r) { return with_error(std::pow(r - 0.042, 2)); }));
  EXPECT_NEAR(out.cut.value, 0.04, 1e-12);
  ASSERT_EQ(out.path.size(), 11u);
  EXPECT_EQ(out.path.front().cut.value, 0.0);
  EXPECT_EQ(out.path.back().cut.value, 0.1);
  const SearchOutcome flat = GridThreshold(params).search(problem([](double) { return with_error(0.5); }));
  EXPECT_EQ(flat.cut.value, 0.0);
  params.hi = params.lo;
  EXPECT_EQ(GridThreshold(params).search(problem([](double r) { return with_error(r); })).path.size(), 1u);
}

TEST(BrentThreshold, FindsAnInteriorMinimum) {
  BrentThreshold::Params params;
  params.objective = Objective::Kind::kError;
  int calls = 0;
  for (const double at : {0.0123, 0.0301, 0.0577}) {
    calls = 0;
    const SearchOutcome out = BrentThreshold(params).search(problem(
        [at](double r) { return with_error(0.1 + std::abs(std::expm1(8 * (r - at))) + std::pow(r - at, 2)); }, 4, &calls));
    EXPECT_NEAR(out.cut.value, at, 1e-3);
    EXPECT_EQ(static_cast<size_t>(calls), out.path.size());
    EXPECT_LE(calls, 13 + 16);
    EXPECT_DOUBLE_EQ(out.objective,
                     BrentThreshold(params).objective(
                         with_error(0.1 + std::abs(std::expm1(8 * (out.cut.value - at))) + std::pow(out.cut.value - at, 2))));
  }
}

TEST(BrentThreshold, EndsOfTheIntervalCanWin) {
  BrentThreshold::Params params;
  params.objective = Objective::Kind::kError;
  EXPECT_EQ(BrentThreshold(params).search(problem([](double r) { return with_error(1 + r); })).cut.value, 0.0);
  EXPECT_EQ(BrentThreshold(params).search(problem([](double r) { return with_error(1 - r); })).cut.value, 0.06);
  params.lo = params.hi = 0.02;
  EXPECT_EQ(BrentThreshold(params).search(problem([](double r) { return with_error(1 - r); })).cut.value, 0.02);
}

// A spike that only a grid point hits: Brent around it finds worse points and must not replace it.
TEST(BrentThreshold, NeverWorseThanItsGrid) {
  BrentThreshold::Params params;
  params.objective = Objective::Kind::kError;
  const double spike = 0.06 * 7 / 12;
  const SearchOutcome out = BrentThreshold(params).search(
      problem([spike](double r) { return with_error(std::abs(r - spike) < 1e-12 ? 0.05 : 0.2 + 0.05 * std::sin(900 * r)); }));
  EXPECT_DOUBLE_EQ(out.cut.value, spike);
  EXPECT_DOUBLE_EQ(out.objective, 0.05);
}

TEST(Objective, Formulas) {
  const TrialResult r{0.25, 1.03, 2.5};
  Objective o;
  EXPECT_DOUBLE_EQ(o.value(r), 0.25);
  o.objective = Objective::Kind::kLagrangian;
  o.lambda = 0.5;
  EXPECT_DOUBLE_EQ(o.value(r), 0.25 + 0.515);
  o.lambda_bits = Objective::Bits::kStored;
  EXPECT_DOUBLE_EQ(o.value(r), 0.25 + 1.25);
  o.objective = Objective::Kind::kRateDistortion;
  EXPECT_DOUBLE_EQ(o.value(r), -1.0 + 2.5);
  EXPECT_TRUE(std::isfinite(o.value({0.0, 1, 1})));
  o.objective = Objective::Kind::kBudget;
  o.budget = 2.5;
  EXPECT_DOUBLE_EQ(o.value(r), 0.25);
  EXPECT_GT(o.value({0.0, 1, 2.5001}), o.value({1.0, 1, 2.5}));
  EXPECT_GT(o.value({0.1, 1, 2.7}), o.value({0.1, 1, 2.6}));
}

TEST(Objective, BudgetIsKeptBySearches) {
  // D falls and size grows with r: the best share within 1.2 bits is .04.
  const auto p = problem([](double r) { return TrialResult{0.4 - 2 * r, 1, 1 + 5 * r}; });
  BrentThreshold::Params params;
  params.objective = Objective::Kind::kBudget;
  params.budget = 1.2;
  const SearchOutcome out = BrentThreshold(params).search(p);
  EXPECT_LE(1 + 5 * out.cut.value, 1.2 + 1e-12);
  EXPECT_NEAR(out.cut.value, 0.04, 1e-3);
  params.budget.reset();
  EXPECT_THROW(BrentThreshold{params}, UserError);
}

TEST(Threshold, ParametersAreChecked) {
  BrentThreshold::Params brent;
  brent.lo = 0.1;
  brent.hi = 0.05;
  EXPECT_THROW(BrentThreshold{brent}, UserError);
  GridThreshold::Params grid;
  grid.lo = 0.1;
  grid.hi = 0.05;
  EXPECT_THROW(GridThreshold{grid}, UserError);
}

// On real trials: salient weights kept exactly, two groups for the rest, the number of bits by the paper's count plus the index
// entropy.
TEST(BrentThreshold, AgreesWithADenseGridOnAMatrix) {
  for (const char* kind : {"gauss", "t10+s"}) {
    Block block(make_random(kind, 96, 128, 3));
    std::map<double, TrialResult> seen;  // three searches ask for the same points
    const auto scores = SigmaSaliency({}).score(block.ctx());
    const KMeansGrouping kmeans({2, 2000});
    const SearchProblem p = problem([&](double r) {
      if (seen.count(r) > 0) return seen[r];
      const SaliencyMask mask = scores->select({Cut::Unit::kRatio, r});
      const double share = mask.ratio(), h = share > 0 ? -share * std::log2(share) - (1 - share) * std::log2(1 - share) : 0;
      return seen[r] = TrialResult{block.error(kmeans, mask), 1 + 3 * share, 2 + 2 * share + h};
    });
    for (const auto kind_of : {Objective::Kind::kLagrangian, Objective::Kind::kRateDistortion, Objective::Kind::kError}) {
      BrentThreshold::Params brent;
      brent.objective = kind_of;
      GridThreshold::Params dense;
      dense.objective = kind_of;
      dense.points = 121;
      const SearchOutcome a = BrentThreshold(brent).search(p), b = GridThreshold(dense).search(p);
      EXPECT_LE(a.objective, b.objective + 5e-4 * std::abs(b.objective)) << kind;
      EXPECT_LT(a.path.size(), 40u);
    }
  }
}

}  // namespace
}  // namespace sage::test
