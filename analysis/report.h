// Tables of runs: a row each, the columns that vary, everything else in the caption.
#pragma once

#include <string>
#include <vector>

#include "analysis/selection.h"
#include "analysis/table_spec.h"
#include "core/util/table.h"

namespace sage {

// Sum over matrices of rows*cols*value / sum of rows*cols: the figure of one weight picked at random. NaN where no matrix has
// a value.
double weight_average(const std::vector<MatrixRow>& matrices, double MatrixRow::*value);

// Value and standard error of a metric of one evaluation, or nullptr.
const MetricRow* find_metric(const RunRecord& record, const std::string& metric, const std::string& task);
// Evaluations that have this metric, in the order of first appearance.
std::vector<std::string> tasks_with(const std::vector<const RunRecord*>& records, const std::string& metric);

// "a1b2c3d4*": short, starred if the tree was dirty.
std::string short_commit(const RunProvenance& p);

// The caption names model, text, protocol and windows, lists what is equal in all rows, and warns where rows are not
// comparable: other commits, devices, backends, models, texts or protocols, and FP32-decoded ("reference") numerics.
Table make_report(std::vector<SelectedRun> runs, const TableSpec& spec);

}  // namespace sage
