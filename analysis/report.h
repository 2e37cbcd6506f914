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
// Digest of the text an evaluation scored; of files that do not name it, that of their first.
std::string text_digest_of(const RunRecord& record, const std::string& task);
// Evaluations that have this metric, in the order of first appearance.
std::vector<std::string> tasks_with(const std::vector<const RunRecord*>& records, const std::string& metric);

// "a1b2c3d4*": short, starred if the tree was dirty.
std::string short_commit(const RunProvenance& p);

// The caption names model, text, protocol and windows, lists what is equal in all rows, and warns where rows are not
// comparable: other commits, devices, backends, models, texts or protocols, and FP32-decoded ("reference") numerics. Formats
// without a caption have no less: whatever of this differs between rows is a column, asked for or not, and equal labels are told
// apart (labels.h). Points that have not been run are no rows; the caption counts them.
Table make_report(std::vector<SelectedRun> runs, const TableSpec& spec);

}  // namespace sage
