// What `run` and `sweep` print at their end. The full tables, with captions and footnotes, are `report`'s.
#pragma once

#include <string>
#include <vector>

#include "core/pipeline/packed_checkpoint.h"
#include "core/util/table.h"
#include "results/run_record.h"

namespace sage {

void print_runs(const std::vector<RunRecord>& records, TableFormat format);
void print_packed(const PackedReport& report, const std::string& folder, TableFormat format);
const MetricRow* find_metric(const RunRecord& record, const std::string& metric);  // of the first evaluation; nullptr if absent

}  // namespace sage
