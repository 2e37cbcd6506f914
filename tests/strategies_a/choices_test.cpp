// What the selecting components choose, against the released code of BiLLM and PB-LLM.
#include <gtest/gtest.h>

#include <algorithm>

#include "strategies/grouping/percentile_split.h"
#include "strategies/grouping/quantiles.h"
#include "strategies/saliency/columns.h"
#include "strategies/saliency/hessian.h"
#include "strategies/saliency/magnitude.h"
#include "strategies/threshold/column_search.h"
#include "strategies/threshold/percentile.h"
#include "tests/strategies_a/support.h"
#include "tests/support/h5_fixture.h"

namespace sage::test {
namespace {

// The released code sums floats: its errors are good to about four digits, its choices have margins above that.
constexpr double kFloatSums = 1e-4;

std::vector<double> row_of(const std::vector<double>& all, int64_t row, int64_t width) {
  return {all.begin() + row * width, all.begin() + (row + 1) * width};
}

void expect_near(const std::vector<double>& got, const std::vector<double>& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t k = 0; k < got.size(); ++k)
    EXPECT_NEAR(got[k], expected[k], kFloatSums * expected[k]) << "at " << k;
}

// One block of columns, all the way from scores to groups.
void expect_choices(const H5Fixture& file, const std::string& path, BlockContext ctx, int64_t block,
                    const SaliencyFilter& filter) {
  SCOPED_TRACE(path + ", block " + std::to_string(block));
  Trace trace(true);
  ctx.trace = &trace;
  const auto scores = filter.score(ctx);
  const std::vector<double> order = row_of(file.doubles(path + "/column_order"), block, 50);
  const std::vector<double> score = row_of(file.doubles(path + "/column_score"), block, 50);
  for (size_t k = 0; k < 50; ++k) {
    const int64_t column = scores->columns_by_score()[k];
    EXPECT_EQ(column, order[k]) << "rank " << k;
    double sum = 0;
    for (int64_t i = 0; i < ctx.weights.rows; ++i)
      sum += std::abs(scores->target()(i, column));
    EXPECT_NEAR(sum, score[k], 1e-5 * score[k]);
  }

  SearchProblem problem;
  problem.context = &ctx;
  problem.scores = scores.get();
  const Cut cut = ColumnSearch({}).search(problem).cut;
  EXPECT_EQ(cut.value, file.doubles(path + "/salient_count")[static_cast<size_t>(block)]);
  EXPECT_EQ(trace.scalars().at(ctx.trace_name("salient_columns")), cut.value);
  expect_near(trace.arrays().at(ctx.trace_name("column_search.errors")).values,
              row_of(file.doubles(path + "/count_error"), block, 49));

  const SaliencyMask mask = scores->select(cut);
  ctx.saliency_target = scores->target();
  const PercentileSplit split({});
  const GroupMap groups = split.prepare(ctx, mask, {})->assign(ctx, mask);
  EXPECT_EQ(trace.arrays().at(ctx.trace_name("split.values")).values,
            row_of(file.doubles(path + "/percentile_value"), block, 81));
  EXPECT_EQ(trace.arrays().at(ctx.trace_name("split.upper_counts")).values,
            row_of(file.doubles(path + "/m2_count"), block, 81));
  EXPECT_EQ(trace.scalars().at(ctx.trace_name("split.index")),
            file.doubles(path + "/percentile_index")[static_cast<size_t>(block)]);
  EXPECT_EQ(trace.scalars().at(ctx.trace_name("split.value")), file.doubles(path + "/split_value")[static_cast<size_t>(block)]);
  expect_near(trace.arrays().at(ctx.trace_name("split.errors")).values,
              row_of(file.doubles(path + "/percentile_error"), block, 81));

  const Matrix expected = file.matrix(path + "/group");  // 1, 2 or 3: lower, upper, salient
  for (int64_t i = 0; i < ctx.weights.rows; ++i)
    for (int64_t j = 0; j < ctx.weights.cols; ++j)
      ASSERT_EQ(mask.test(i, j) ? 3.0f : static_cast<float>(groups.at(i, j) + 1), expected(i, ctx.first_column + j))
          << "row " << i << " column " << j;
}

bool by_hessian(const H5Fixture& file, const std::string& path) {
  return file.attribute<std::string>(path, "salient_metric") == "hessian";
}

TEST(BillmChoices, ColumnsSplitsAndGroupsAreTheReleasedOnes) {
  const H5Fixture inputs("baselines/inputs.h5"), file("baselines/billm.h5");
  int cases = 0;
  for (const std::string& input : file.children("/")) {
    const Matrix u = inputs.matrix(input + "/U_diag");
    for (const std::string& setting : file.children(input)) {
      const std::string path = input + "/" + setting;
      // Without compensation every block is searched on the weights as they are, otherwise on those the file may hold.
      const bool plain = file.attribute<int64_t>(path, "disable_gptq") != 0;
      if (file.attribute<std::string>(path, "method") != "braq" || (!plain && !file.has(path + "/W_block"))) continue;
      const Matrix w = plain ? weights_without_dead_columns(inputs, input) : file.matrix(path + "/W_block");
      const HessianSaliency hessian({HessianSaliency::Unit::kColumns});
      const ColumnSaliency magnitude({ColumnSaliency::By::kMagnitude});
      const int64_t width = file.attribute<int64_t>(path, "blocksize");
      for (int64_t first = 0; first < w.cols(); first += width) {
        const int64_t last = std::min(first + width, w.cols());
        BlockContext ctx{w.view().columns(first, last), first, oracle(), {0, input}};
        ctx.factor_diagonal = {u.data() + first, static_cast<size_t>(last - first)};
        if (by_hessian(file, path))
          expect_choices(file, path, ctx, first / width, hessian);
        else
          expect_choices(file, path, ctx, first / width, magnitude);
      }
      ++cases;
    }
  }
  EXPECT_EQ(cases, 21);  // five inputs, Hessian and magnitude, blocks of 64 and 128; one compensated
}

// Masks are chosen once, from the weights before compensation.
TEST(PbLlmChoices, LowMasksAreTheReleasedOnes) {
  const H5Fixture inputs("baselines/inputs.h5"), file("baselines/pb_llm.h5");
  int cases = 0;
  for (const std::string& input : file.children("/")) {
    const Matrix w = weights_without_dead_columns(inputs, input), u = inputs.matrix(input + "/U_diag");
    for (const std::string& setting : file.children(input)) {
      const std::string path = input + "/" + setting;
      if (!file.has(path + "/low_mask") || file.attribute<int64_t>(path, "mask_same") == 0) continue;
      SCOPED_TRACE(path);
      const int64_t asked = file.attribute<int64_t>(path, "groupsize"), width = asked < 0 ? w.cols() : asked;
      PercentileThreshold::Params params;
      params.low_frac = file.attribute<double>(path, "low_frac");
      const Cut cut = PercentileThreshold(params).search({}).cut;
      const Matrix low = file.matrix(path + "/low_mask");
      for (int64_t first = 0; first < w.cols(); first += width) {
        const int64_t last = std::min(first + width, w.cols());
        BlockContext ctx{w.view().columns(first, last), first, oracle(), {0, input}};
        ctx.factor_diagonal = {u.data() + first, static_cast<size_t>(last - first)};
        const auto scores = by_hessian(file, path) ? HessianSaliency({}).score(ctx) : MagnitudeSaliency({}).score(ctx);
        const SaliencyMask mask = scores->select(cut);
        for (int64_t i = 0; i < w.rows(); ++i)
          for (int64_t j = first; j < last; ++j)
            ASSERT_EQ(mask.test(i, j - first), low(i, j) == 0.0f) << "row " << i << " column " << j;
      }
      ++cases;
    }
  }
  EXPECT_EQ(cases, 65);
}

TEST(Quantiles, AreThoseOfTorchAndNumpyToTheLastBit) {
  const H5Fixture file("baselines/functions.h5");
  const std::vector<float> p = grouping::linspace(0.1f, 0.9f, 81);
  EXPECT_EQ(std::vector<double>(p.begin(), p.end()), file.doubles("quantile/p"));
  int cases = 0;
  for (const std::string& name : file.children("quantile")) {
    if (name == "p") continue;
    SCOPED_TRACE(name);
    const Matrix z = file.matrix("quantile/" + name + "/z");
    std::vector<float> sorted(z.data(), z.data() + z.size());
    std::sort(sorted.begin(), sorted.end());
    const std::vector<float> got = grouping::quantiles(sorted, p);
    EXPECT_EQ(std::vector<double>(got.begin(), got.end()), file.doubles("quantile/" + name + "/value"));
    const std::vector<double> above = file.doubles("quantile/" + name + "/count_ge");
    for (size_t k = 0; k < got.size(); ++k)
      EXPECT_EQ(sorted.end() - std::lower_bound(sorted.begin(), sorted.end(), got[k]), above[k]);
    ++cases;
  }
  EXPECT_EQ(cases, 4);
}

// The error of one part: nothing is below a cut at 0.
double binarization_error(const std::vector<float>& values, int order) {
  const float cut[] = {0};
  double error = 0;
  int64_t upper = 0;
  oracle().split_errors(WeightView(values.data(), 1, static_cast<int64_t>(values.size())),
                        {.cuts = cut, .order = order, .centered = true}, {&error, 1}, {&upper, 1});
  EXPECT_EQ(upper, static_cast<int64_t>(values.size()));
  return error;
}

TEST(BinarizationError, IsThatOfTheReleasedFunction) {
  const H5Fixture file("baselines/functions.h5");
  int rows = 0;
  for (const std::string& name : file.children("residual_binarization/S")) {
    const std::string path = "residual_binarization/S/" + name;
    SCOPED_TRACE(path);
    const Matrix values = file.matrix("residual_binarization/X/" + file.attribute<std::string>(path, "x")),
                 mask = file.matrix("residual_binarization/M/" + file.attribute<std::string>(path, "mask")),
                 once = file.matrix(path + "/order1"), twice = file.matrix(path + "/order2");
    const std::vector<int64_t> ok = file.integers(path + "/row_ok");
    for (int64_t i = 0; i < values.rows(); ++i) {
      if (ok[static_cast<size_t>(i)] == 0) continue;
      std::vector<float> own;
      double energy = 0, error_once = 0, error_twice = 0;
      for (int64_t j = 0; j < values.cols(); ++j)
        if (mask(i, j) != 0) {
          const double v = values(i, j);
          own.push_back(values(i, j));
          energy += v * v;
          error_once += (v - once(i, j)) * (v - once(i, j));
          error_twice += (v - twice(i, j)) * (v - twice(i, j));
        }
      const double rounding = 1e-6 * energy;  // of the floats the released function returns
      EXPECT_NEAR(binarization_error(own, 1), error_once, rounding) << "row " << i;
      EXPECT_NEAR(binarization_error(own, 2), error_twice, rounding) << "row " << i;
      ++rows;
    }
  }
  EXPECT_GT(rows, 200);
}

}  // namespace
}  // namespace sage::test
