// What a table shows: the columns, in order. analysis/tables/*.yaml holds named ones.
//
//   title: Cost of each method
//   columns: [label, {column: seconds.quantize, title: quantize s, decimals: 1}, config.pipeline.grouping.type]
//   keep_constant: false     # true: columns equal in every row stay columns
//   sort: stored_bits        # absent: the order of the selection
//   bars: true               # on a terminal, a bar per run of where its time went (timing_bars.h)
//
// Columns: label, status, run, perplexity, kl, top1, metric.NAME, D, gram_loss, groups, threshold_cut, percdamp, damping_retries,
// dead_columns, excess_stored, excess_paper, paper_bits, paper_weight_bits, paper_scaling_bits, stored_bits, matrices,
// whole_model_bits, file_mib, peak_gib, device_gib, seconds, seconds.STAGE, model, text, protocol, windows, backend, device, commit,
// config.PATH. seconds.evaluate sums all evaluations. Per-matrix figures (D, ...) are averages over the quantized weights; percdamp
// is the largest, retries and dead columns are sums. `matrices` ("3 of 7") is empty where every linear layer was quantized.
#pragma once

#include <string>
#include <vector>

namespace sage {

struct ColumnSpec {
  std::string column;
  std::string title;  // empty: the column's own
  int decimals = -1;  // -1: the column's own
};

struct TableSpec {
  std::string title;
  std::vector<ColumnSpec> columns;
  std::string sort;
  bool keep_constant = false;
  bool bars = false;
};

TableSpec default_table_spec();
// A file, or the name of one in analysis/tables (looked for beside the program, then upwards from it). UserError with
// file:line:column for an unknown key or column.
TableSpec read_table_spec(const std::string& name_or_path);

// Names a column may have; those that end in '.' take a rest.
const std::vector<std::string>& table_column_names();
bool is_table_column(const std::string& name);

}  // namespace sage
