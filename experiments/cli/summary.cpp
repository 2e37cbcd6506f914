#include "experiments/cli/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "experiments/engine/provenance.h"
#include "results/coverage.h"

namespace sage {
namespace {

Table::Cell cell(double v) { return std::isfinite(v) ? Table::Cell(v) : Table::Cell(); }
Table::Cell metric_cell(const RunRecord& r, const char* name) {
  const MetricRow* m = find_metric(r, name);
  return m == nullptr ? Table::Cell() : cell(m->value);
}

}  // namespace

const MetricRow* find_metric(const RunRecord& record, const std::string& metric) {
  for (const MetricRow& m : record.metrics)
    if (m.metric == metric) return &m;
  return nullptr;
}

void print_runs(const std::vector<RunRecord>& records, TableFormat format) {
  std::vector<Table::Column> columns = {
      {"run"},        {"perplexity", true, 2}, {"KL", true, 4},       {"top-1 %", true, 1},
      {"D", true, 4}, {"paper bits", true},    {"stored bits", true}, {"whole-model bits", true}};
  const bool partial =
      std::any_of(records.begin(), records.end(), [](const RunRecord& r) { return !matrices_quantized(r).empty(); });
  if (partial) columns.push_back({"matrices quantized"});
  columns.push_back({"seconds", true, 1});
  Table t(columns);
  for (const RunRecord& r : records) {
    std::vector<Table::Cell> row = {r.label};
    if (!r.complete()) {
      row.resize(columns.size());
      t.add_row(std::move(row));
      continue;
    }
    double d = 0, weights = 0, seconds = 0;
    for (const MatrixRow& m : r.matrices) {
      d += m.d * static_cast<double>(m.rows * m.cols);
      weights += static_cast<double>(m.rows * m.cols);
    }
    for (const StageRow& s : r.timing) seconds += s.seconds;
    const MetricRow* top1 = find_metric(r, kMetricTop1);
    for (Table::Cell c : {metric_cell(r, kMetricPerplexity), metric_cell(r, kMetricKl),
                          top1 == nullptr ? Table::Cell() : Table::Cell(100 * top1->value),
                          weights > 0 ? Table::Cell(d / weights) : Table::Cell(0.0), cell(r.storage.paper_bits),
                          cell(r.storage.stored_bits), cell(r.storage.whole_model_bits)})
      row.push_back(std::move(c));
    if (partial) row.push_back(matrices_quantized(r).empty() ? Table::Cell() : Table::Cell(matrices_quantized(r)));
    row.push_back(seconds);
    t.add_row(std::move(row));
  }
  std::string scored;
  for (const RunRecord& r : records) {
    if (r.metrics.empty()) continue;
    const std::string here = fmt::format("{}; {}; {}, {} windows", r.provenance.model_name, r.provenance.text_name,
                                         r.metrics.front().protocol, r.metrics.front().n);
    if (!scored.empty() && here != scored) {
      scored = "models, texts, protocols or windows differ; `sageptq report` has columns for them";
      break;
    }
    scored = here;
  }
  std::vector<std::pair<std::string, const RunRecord*>> labelled;
  for (const RunRecord& r : records) labelled.emplace_back(r.label, &r);
  if (const std::string note = other_builds_note(labelled); !note.empty()) scored += (scored.empty() ? "" : "\n") + note;
  t.set_caption(scored);
  fmt::print("{}", t.render(format));
}

void print_packed(const PackedReport& r, const std::string& folder, TableFormat format) {
  std::vector<Table::Column> columns = {
      {"packed directory"}, {"D", true, 5}, {"paper bits", true}, {"stored bits", true}, {"whole-model bits", true}};
  std::vector<Table::Cell> row = {folder, cell(r.relative_error()), r.paper_bits(), r.stored_bits(), r.whole_model_bits()};
  if (r.left_out_matrices > 0) {
    columns.push_back({"matrices quantized"});
    row.push_back(fmt::format("{} of {}", r.matrices.size(), r.linear_matrices()));
  }
  columns.push_back({"MB", true, 1});
  row.push_back(static_cast<double>(r.file_bytes) * 1e-6);
  Table t(columns);
  t.add_row(std::move(row));
  fmt::print("{}", t.render(format));
}

}  // namespace sage
