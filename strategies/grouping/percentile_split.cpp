#include "strategies/grouping/percentile_split.h"

#include <boost/sort/spreadsort/float_sort.hpp>
#include <cmath>

#include "core/util/errors.h"
#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/options.h"
#include "strategies/grouping/quantiles.h"

namespace sage {
namespace {

// |X|, zero where a weight is salient, ascending.
std::vector<float> sorted_magnitudes(WeightView x, const SaliencyMask& mask) {
  std::vector<float> z(static_cast<size_t>(x.size()));
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.cols; ++j)
      z[static_cast<size_t>(i * x.cols + j)] = mask.test(i, j) ? 0.0f : std::abs(x(i, j));
  boost::sort::spreadsort::float_sort(z.begin(), z.end());
  return z;
}

}  // namespace

Schema<PercentileSplit::Params> PercentileSplit::schema() {
  return Schema<Params>{}
      .add("on", &Params::on, choices<On>({{"saliency", On::kSaliency}, {"weights", On::kWeights}}),
           "What is split and binarized on trial: what the saliency filter measures by, or the weights.")
      .add("lo", &Params::lo, range(0.0, 1.0), "Least probability tried.")
      .add("hi", &Params::hi, range(0.0, 1.0), "Largest probability tried.")
      .add("points", &Params::points, range(1, 10000), "How many probabilities are tried.")
      .add("centered", &Params::centered, "Whether the trial binarizations subtract the mean first.");
}

PercentileSplit::PercentileSplit(Params p) : params_(p) {
  if (params_.lo > params_.hi)
    throw UserError("grouping {}: found lo = {} above hi = {}; expected lo <= hi; exchange them", kName, params_.lo,
                    params_.hi);
}

std::unique_ptr<GroupingModel> PercentileSplit::prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                        std::optional<int64_t> groups) const {
  grouping::expect_groups(kName, groups, 2);
  const WeightView x = grouping::split_matrix(ctx, params_.on, kName);
  std::vector<float> candidates = {0.0f};
  if (x.size() > 0)
    candidates =
        grouping::quantiles(sorted_magnitudes(x, mask),
                            grouping::linspace(static_cast<float>(params_.lo), static_cast<float>(params_.hi), params_.points));
  return grouping::best_split(ctx, mask, candidates, params_.on, params_.centered, kName);
}

GroupMap PercentileSplit::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, 2, 2);
  return element_layout(rows, cols, groups);
}

}  // namespace sage
