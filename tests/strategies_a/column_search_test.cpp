#include "strategies/threshold/column_search.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "core/util/errors.h"
#include "strategies/saliency/columns.h"
#include "strategies/saliency/hessian.h"
#include "strategies/saliency/sigma.h"
#include "strategies/threshold/column_count.h"
#include "strategies/threshold/percentile.h"
#include "tests/strategies_a/support.h"
#include "tests/support/binarization.h"

namespace sage::test {
namespace {

class Search {
 public:
  Search(Matrix w, const SaliencyFilter& filter, int64_t first_column = 0) : w_(std::move(w)) {
    diagonal_.assign(static_cast<size_t>(w_.cols()), 0.0f);
    for (size_t j = 0; j < diagonal_.size(); ++j)
      diagonal_[j] = 0.5f + 0.01f * static_cast<float>(j * 37 % 101);
    ctx_.weights = w_.view();
    ctx_.first_column = first_column;
    ctx_.factor_diagonal = diagonal_;
    ctx_.trace = &trace_;
    scores_ = filter.score(ctx_);
  }
  double run(const ThresholdSearcher& searcher) const {
    SearchProblem p;
    p.context = &ctx_;
    p.scores = scores_.get();
    const Cut cut = searcher.search(p).cut;
    EXPECT_EQ(cut.unit, Cut::Unit::kCount);
    return cut.value;
  }
  const SaliencyScores& scores() const { return *scores_; }
  const Trace& trace() const { return trace_; }
  WeightView w() const { return w_.view(); }
  void spoil(int64_t i, int64_t j, float value) { w_(i, j) = value; }

 private:
  Matrix w_;
  std::vector<float> diagonal_;
  Trace trace_{true};
  BlockContext ctx_{{}, 0, oracle(), {0, "test.weight"}};
  std::unique_ptr<SaliencyScores> scores_;
};

TEST(ColumnSearch, TriesWhatItsOptionsSay) {
  const HessianSaliency filter({HessianSaliency::Unit::kColumns});
  const Search s(make_random("t10+s", 70, 64, 4), filter);
  for (const auto on : {ColumnSearch::ErrorOn::kSaliency, ColumnSearch::ErrorOn::kWeights})
    for (const int order : {1, 2})
      for (const bool centered : {false, true}) {
        ColumnSearch::Params params;
        params.least = 3;
        params.most = 30;
        params.error_on = on;
        params.order = order;
        params.centered = centered;
        const double chosen = s.run(ColumnSearch(params));
        const std::vector<double>& errors = s.trace().arrays().at("column_search.errors").values;
        ASSERT_EQ(errors.size(), 28u);
        const WeightView x = on == ColumnSearch::ErrorOn::kSaliency ? s.scores().target() : s.w();
        size_t best = 0;
        for (size_t c = 0; c < errors.size(); ++c) {
          const SaliencyMask m = s.scores().select({Cut::Unit::kCount, static_cast<double>(c + 3)});
          const double expected =
              plain_binarization_error(x, order, centered, [&](int64_t i, int64_t j) { return m.test(i, j); }) +
              plain_binarization_error(x, order, centered, [&](int64_t i, int64_t j) { return !m.test(i, j); });
          EXPECT_NEAR(errors[c], expected / static_cast<double>(x.size()), 1e-9 * errors[c]);
          if (errors[c] < errors[best]) best = c;
        }
        EXPECT_EQ(chosen, static_cast<double>(best + 3));
      }
}

TEST(ColumnSearch, FindsTheColumnsThatStandOut) {
  Matrix w = make_random("gauss", 96, 128, 2);
  for (const int64_t j : {5, 40, 41, 99})
    for (int64_t i = 0; i < w.rows(); ++i)
      w(i, j) *= 12;
  const Search s(std::move(w), ColumnSaliency({ColumnSaliency::By::kMagnitude}));
  EXPECT_EQ(s.run(ColumnSearch({})), 4);
}

TEST(ColumnSearch, NarrowBlocksAreSearchedAsFarAsTheyGo) {
  const ColumnSaliency filter({ColumnSaliency::By::kMagnitude});
  const Search narrow(make_random("t5", 32, 20, 1), filter, 256);
  const double c = narrow.run(ColumnSearch({}));
  EXPECT_GE(c, 1);
  EXPECT_LE(c, 19);
  EXPECT_EQ(narrow.trace().arrays().at("column_search.errors@256").values.size(), 19u);
  EXPECT_EQ(narrow.trace().scalars().at("salient_columns@256"), c);
  ColumnSearch::Params paper;
  paper.least = 3;
  paper.most = 30;
  EXPECT_EQ(Search(make_random("t5", 32, 3, 1), filter).run(ColumnSearch(paper)), 2);
  EXPECT_EQ(Search(make_random("t5", 32, 2, 1), filter).run(ColumnSearch({})), 1);
  EXPECT_EQ(Search(make_random("t5", 32, 1, 1), filter).run(ColumnSearch({})), 0);
}

TEST(ColumnSearch, EqualErrorsTakeTheFewestColumns) {
  EXPECT_EQ(Search(Matrix::zeros(16, 64), ColumnSaliency({})).run(ColumnSearch({})), 1);
  Matrix w(16, 64);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] = k % 3 == 0 ? -0.7f : 0.7f;  // without a mean every side binarizes exactly
  ColumnSearch::Params params;
  params.centered = false;
  EXPECT_EQ(Search(std::move(w), ColumnSaliency({})).run(ColumnSearch(params)), 1);
}

TEST(ColumnSearch, ScaleAndThreadsDoNotMatter) {
  const HessianSaliency filter({HessianSaliency::Unit::kColumns});
  const Matrix w = make_random("t5", 300, 128, 7);
  const Search a(Matrix::copy(w.view()), filter), b(scaled(w, 0.25f), filter);
  const double chosen = a.run(ColumnSearch({}));
  EXPECT_EQ(b.run(ColumnSearch({})), chosen);
  const std::vector<double> errors = a.trace().arrays().at("column_search.errors").values;
  const int threads = omp_get_max_threads();
  for (const int n : {1, 3, 5}) {
    omp_set_num_threads(n);
    const Search again(Matrix::copy(w.view()), filter);
    EXPECT_EQ(again.run(ColumnSearch({})), chosen);
    EXPECT_EQ(again.trace().arrays().at("column_search.errors").values, errors);
  }
  omp_set_num_threads(threads);
}

TEST(ColumnSearch, RefusesWhatIsNotFinite) {
  ColumnSearch::Params params;
  params.error_on = ColumnSearch::ErrorOn::kWeights;
  for (const float bad : {std::nanf(""), INFINITY}) {
    Search s(make_random("gauss", 8, 16, 1), ColumnSaliency({}));
    EXPECT_NO_THROW(s.run(ColumnSearch(params)));
    s.spoil(3, 5, bad);  // after the filter, which refuses it too
    EXPECT_THROW(s.run(ColumnSearch(params)), RunError);
  }
}

TEST(ColumnSearch, NeedsAFilterThatRanksColumns) {
  const Search s(make_random("gauss", 8, 16, 1), SigmaSaliency({}));
  EXPECT_THROW(s.run(ColumnSearch({})), UserError);
  const Search weights(make_random("gauss", 8, 16, 1), HessianSaliency({}));
  EXPECT_THROW(weights.run(ColumnSearch({})), UserError);
  ColumnSearch::Params p;
  p.least = 9;
  p.most = 8;
  EXPECT_THROW(ColumnSearch{p}, UserError);
  EXPECT_FALSE(ColumnSearch({}).needs_trials());
  EXPECT_EQ(ColumnSearch({}).unit(), Cut::Unit::kCount);
}

TEST(ColumnCount, AsManyColumnsAsAskedOrThereAre) {
  const ColumnSaliency filter({});
  ColumnCount::Params p;
  p.columns = 7;
  EXPECT_EQ(Search(make_random("gauss", 8, 16, 1), filter).run(ColumnCount(p)), 7);
  EXPECT_EQ(Search(make_random("gauss", 8, 5, 1), filter).run(ColumnCount(p)), 5);
  EXPECT_EQ(ColumnCount(p).search({}).cut.value, 7);
}

TEST(PercentileThreshold, CutsByRank) {
  PercentileThreshold::Params p;
  p.low_frac = 0.95;
  const Cut cut = PercentileThreshold(p).search({}).cut;
  EXPECT_EQ(cut.unit, Cut::Unit::kPercentile);
  EXPECT_EQ(cut.value, 0.95);
  EXPECT_EQ(PercentileThreshold(p).unit(), Cut::Unit::kPercentile);
  EXPECT_FALSE(PercentileThreshold(p).needs_trials());
  p.low_frac = 1;
  EXPECT_THROW(PercentileThreshold{p}, UserError);
}

}  // namespace
}  // namespace sage::test
