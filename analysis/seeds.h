// Runs that differ only in their seeds (`seed`, `calibration.seed`) as one row: mean, spread, number.
//
// With P_s the perplexity of seed s of n, and x_si the NLL of its window i of m:
//   perplexity           mean of P_s, ± its standard error over windows, by the delta method: that of the m values mean_s P_s
//   x_si sd over seeds        sqrt(sum_s (P_s - mean)^2 / (n - 1)): what another calibration draw changes over full precision
//   mean of P_s minus that of the full-precision run on the same windows, ± paired window by window
#pragma once

#include <vector>

#include "analysis/selection.h"
#include "analysis/table_spec.h"
#include "core/util/table.h"

namespace sage {

// Metrics of a merged record beside those that were measured.
inline constexpr const char* kSpreadOfPerplexity = "perplexity_sd";
inline constexpr const char* kSpreadOfKl = "kl_sd";
inline constexpr const char* kOverFullPrecision = "over_full_precision";
inline constexpr const char* kSeeds = "seeds";

// Do any two complete runs differ only in their seeds?
bool repeats_seeds(const std::vector<SelectedRun>& runs);

// One entry per group, at the place of its first run, labelled without the seeds; `count` is the number of runs. Alone, failed
// and missing runs stay as they are, but for the metrics above. Standard errors need RunParts::kAll.
std::vector<SelectedRun> merge_seeds(const std::vector<SelectedRun>& runs);

// make_report() of the merged runs, with the columns above in their places.
Table make_seed_report(const std::vector<SelectedRun>& runs, const TableSpec& spec);

}  // namespace sage
