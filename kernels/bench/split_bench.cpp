// The searches of BiLLM on one of its blocks, 4096 x 128: where to cut the magnitudes (81 cuts at quantiles, order 1), and how
// many columns are salient (49 counts, order 2). Operations: additions, subtractions and products in double of the divisions of
// a row that differ, 5 per weight for order 1 and 10 for order 2; sorting and comparing is not counted. Bound: OpenBLAS sgemm,
// halved for doubles. Order and results are the same on every machine, so the loops run on vectors of two doubles, with
// nothing fused, where that bound has the widest vectors and two operations an instruction: 2 / 32 of it with AVX-512.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

// How often a row is divided otherwise than by the cut before, over all rows.
int64_t divisions(WeightView x, const SplitTrials& trials) {
  if (!trials.column_keys.empty()) return x.rows * static_cast<int64_t>(trials.cuts.size());  // keys 0, 1, .., cuts 1, 2, ..
  int64_t count = 0;
  std::vector<float> row(static_cast<size_t>(x.cols));
  for (int64_t i = 0; i < x.rows; ++i) {
    std::transform(x.row(i), x.row(i) + x.cols, row.begin(), [](float v) { return std::abs(v); });
    std::sort(row.begin(), row.end());
    std::ptrdiff_t before = -1;
    for (float cut : trials.cuts) {
      const auto below = std::lower_bound(row.begin(), row.end(), cut) - row.begin();
      count += below != before;
      before = below;
    }
  }
  return count;
}

void add(const char* name, bool columns) {
  const int64_t rows = sized(4096, 32), cols = sized(128, 64);
  add_benchmark(fmt::format("splits/{}/{}x{}", name, rows, cols), 0.4, [=](benchmark::State& state) {
    const Held x(weights(rows, cols, 11));
    std::vector<float> cuts, keys;
    if (columns) {
      for (int c = 1; c < 50; ++c)
        cuts.push_back(static_cast<float>(c));
      for (int64_t j = 0; j < cols; ++j)
        keys.push_back(static_cast<float>(j * 37 % cols));
    } else {
      for (int k = 10; k <= 90; ++k)
        cuts.push_back(backend().deviation_order_statistic(x.view(), 0, (x.size() - 1) * k / 100));
    }
    const SplitTrials trials{.cuts = cuts, .column_keys = keys, .order = columns ? 2 : 1, .centered = true};
    std::vector<double> errors(cuts.size());
    std::vector<int64_t> upper(cuts.size());
    const double operations = static_cast<double>(divisions(x.view(), trials) * cols * (columns ? 10 : 5));
    Bound bound = sgemm(1024, 1024, 1024);
    bound.amount /= 2;
    measure(state, Unit::kOperations, operations, bound, [&] {
      backend().split_errors(x.view(), trials, errors, upper);
      benchmark::DoNotOptimize(errors.data());
    });
  });
}

}  // namespace

void register_splits() {
  add("magnitudes", false);
  add("columns", true);
}

}  // namespace sage::bench
