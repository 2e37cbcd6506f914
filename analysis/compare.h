// Two or more runs beside each other: what was set differently, and what came of it.
#pragma once

#include <span>
#include <vector>

#include "analysis/selection.h"
#include "core/util/table.h"

namespace sage {

// Mean of b[i] - a[i] with its standard error sqrt(sum (d_i - mean)^2 / (n (n-1))). Windows differ far more from one another
// than two methods do on one window, so the paired error is a small part of the unpaired one. n >= 2, or the error is NaN.
struct PairedDifference {
  double mean = kNotMeasured;
  double standard_error = kNotMeasured;
  size_t n = 0;
};
PairedDifference paired_difference(std::span<const double> a, std::span<const double> b);

// Difference of perplexities exp(mean a), exp(mean b) of equally long windows, its error by the delta method: that of the
// pairs exp(mean b)*b[i] - exp(mean a)*a[i].
PairedDifference paired_perplexity_difference(std::span<const double> a, std::span<const double> b);

// Windows of one evaluation, or nullptr.
const EvalSeries* find_series(const RunRecord& record, const std::string& task);
// Why the windows of two runs are not the same windows; empty if they are.
std::string unpaired_because(const RunRecord& a, const RunRecord& b, const std::string& task);

struct Comparison {
  Table configuration;  // a row per setting or input that differs; a column per run
  Table metrics;        // a row per figure; a column per run, and the difference of each later run from the first
};
// All records complete, at least two, read with RunParts::kAll.
Comparison compare_runs(const std::vector<SelectedRun>& runs);

}  // namespace sage
