#include "strategies/grouping/max_fraction_split.h"

#include <algorithm>
#include <cmath>

#include "core/util/errors.h"
#include "strategies/grouping/magnitude_groups.h"
#include "strategies/grouping/options.h"

namespace sage {
namespace {

float largest_unsalient(WeightView x, const SaliencyMask& mask) {
  float largest = 0;
#pragma omp parallel for schedule(static) reduction(max : largest)
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.cols; ++j)
      if (!mask.test(i, j)) largest = std::max(largest, std::abs(x(i, j)));
  return largest;
}

}  // namespace

Schema<MaxFractionSplit::Params> MaxFractionSplit::schema() {
  return Schema<Params>{}
      .add("on", &Params::on, choices<On>({{"saliency", On::kSaliency}, {"weights", On::kWeights}}),
           "What is split and binarized on trial: what the saliency filter measures by, or the weights.")
      .add("lo", &Params::lo, range(0.0, 1.0), "Least fraction tried.")
      .add("hi", &Params::hi, range(0.0, 1.0), "Largest fraction tried.")
      .add("points", &Params::points, range(1, 10000), "How many fractions are tried.")
      .add("centered", &Params::centered, "Whether the trial binarizations subtract the mean first.");
}

MaxFractionSplit::MaxFractionSplit(Params p) : params_(p) {
  if (params_.lo > params_.hi)
    throw UserError("grouping {}: found lo = {} above hi = {}; expected lo <= hi; exchange them", kName, params_.lo,
                    params_.hi);
}

std::unique_ptr<GroupingModel> MaxFractionSplit::prepare(const BlockContext& ctx, const SaliencyMask& mask,
                                                         std::optional<int64_t> groups) const {
  grouping::expect_groups(kName, groups, 2);
  const double largest = largest_unsalient(grouping::split_matrix(ctx, params_.on, kName), mask);
  std::vector<float> candidates;
  for (int k = 0; k < params_.points; ++k) {
    const double f = params_.points == 1 ? params_.lo : params_.lo + (params_.hi - params_.lo) * k / (params_.points - 1);
    candidates.push_back(static_cast<float>(f * largest));
  }
  return grouping::best_split(ctx, mask, candidates, params_.on, params_.centered, kName);
}

GroupMap MaxFractionSplit::layout(int64_t rows, int64_t cols, int64_t groups) const {
  grouping::expect_stored_groups(kName, groups, 2, 2);
  return element_layout(rows, cols, groups);
}

}  // namespace sage
