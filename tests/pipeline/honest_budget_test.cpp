// The preset sage_honest under budgets: a larger one is never far worse, and the largest weights, which decide what is left of a
// model, survive under each.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

// The preset with a budget, and with more keys.
PipelineFactory honest(double budget, const std::vector<std::pair<std::string, std::string>>& more = {}) {
  Value pipeline = *parse_yaml(read_file(SAGE_PRESETS "/sage_honest.yaml"), "sage_honest.yaml").find("pipeline");
  expand_bare_names(pipeline);
  set_path(pipeline, "threshold.objective", Value::scalar("budget"));
  set_path(pipeline, "threshold.budget", Value::scalar(fmt::format("{}", budget)));
  for (const auto& [key, value] : more) set_path(pipeline, key, parse_yaml(value, "test"));
  return PipelineFactory(canonical_pipeline(pipeline, test::registries()), test::registries());
}

// sum w what / sum w^2 over the 16 largest weights: 1 when they come back, far less when they are cut off.
double kept(const Matrix& w, const Matrix& q) {
  std::vector<int64_t> order(static_cast<size_t>(w.size()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + 16, order.end(), [&](int64_t a, int64_t b) { return std::abs(w.data()[a]) > std::abs(w.data()[b]); });
  double wq = 0, ww = 0;
  for (size_t k = 0; k < 16; ++k) {
    wq += static_cast<double>(w.data()[order[k]]) * q.data()[order[k]];
    ww += static_cast<double>(w.data()[order[k]]) * w.data()[order[k]];
  }
  return wq / ww;
}

TEST(SageHonest, LargerBudgetsAreNeverFarWorse) {
  const Matrix w = test::make_random("t7", 192, 256, 31);
  const auto quantize = [&](const PipelineFactory& f) {
    return quantize_matrix(f, {.weights = w.view(), .id = {0, test::kMatrixName}, .seed = 1}, test::cpu());
  };
  double last = 1, least = 1, least_without = 1;
  for (int tenths = 14; tenths <= 36; tenths += 2) {
    const double budget = tenths / 10.0;
    SCOPED_TRACE(fmt::format("budget {}", budget));
    const MatrixResult r = quantize(honest(budget));
    EXPECT_LE(8.0 * static_cast<double>(r.storage.total_bytes()), budget * static_cast<double>(w.size()) + 64 * 8);
    EXPECT_LE(r.relative_error, last * 1.05);
    last = r.relative_error;
    least = std::min(least, kept(w, r.dequantized));
    // The same with groups alone allowed, which have as little error.
    least_without = std::min(least_without, kept(w, quantize(honest(budget, {{"threshold.lo", "0"}, {"alternatives.grid.saliency", "[sigma, columns]"}})).dequantized));
  }
  EXPECT_GT(least, 0.6);
  EXPECT_LT(least_without, 0.5) << "the bound above says nothing";
}

}  // namespace
}  // namespace sage
