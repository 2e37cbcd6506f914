#include "analysis/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

namespace sage {
namespace {

constexpr size_t kKeyShown = 10;
constexpr size_t kDigestShown = 12;
constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
constexpr double kMiB = 1024.0 * 1024.0;
constexpr const char* kReferenceMark = "†";

using Cell = Table::Cell;
using Records = std::vector<const RunRecord*>;

// One column with the way to fill it.
struct Shown {
  Table::Column head;
  std::function<Cell(const RunRecord&)> cell;
  bool keep = false;  // even if it is equal in every row
};

std::string model_of(const RunRecord& r) {
  const RunProvenance& p = r.provenance;
  return p.model_name.empty() ? p.model_path : p.model_name;
}
std::string with_digest(const std::string& name, const std::string& digest) {
  return digest.empty() ? name : fmt::format("{} (sha256 {})", name, digest.substr(0, kDigestShown));
}
std::string device_of(const RunRecord& r) { return r.provenance.gpu.empty() ? r.provenance.cpu : r.provenance.gpu; }

Shown number(const ColumnSpec& spec, std::string title, int decimals, std::function<double(const RunRecord&)> value) {
  return {{spec.title.empty() ? std::move(title) : spec.title, true, spec.decimals < 0 ? decimals : spec.decimals},
          [value = std::move(value)](const RunRecord& r) { return Cell(value(r)); }};
}
Shown text(const ColumnSpec& spec, std::string title, std::function<std::string(const RunRecord&)> value) {
  return {{spec.title.empty() ? std::move(title) : spec.title, false, 0}, [value = std::move(value)](const RunRecord& r) {
            std::string s = value(r);
            return s.empty() ? Cell() : Cell(std::move(s));
          }};
}

// A column per evaluation that has the metric; the evaluation is named only where there are several.
void add_metric(const ColumnSpec& spec, const std::string& metric, const std::string& title, int decimals,
                const Records& records, std::vector<Shown>& out) {
  const std::vector<std::string> tasks = tasks_with(records, metric);
  for (const std::string& task : tasks) {
    Shown s = number(spec, title, decimals, nullptr);
    if (tasks.size() > 1) s.head.name += " " + task;
    s.cell = [metric, task](const RunRecord& r) {
      const MetricRow* m = find_metric(r, metric, task);
      return m == nullptr ? Cell() : Cell(m->value, m->standard_error);
    };
    s.keep = metric == kMetricPerplexity;
    out.push_back(std::move(s));
  }
}

// "evaluate" is every "evaluate PROTOCOL", too.
double total_seconds(const RunRecord& r, const std::string& stage) {
  double sum = 0;
  bool any = false;
  for (const StageRow& s : r.timing)
    if (stage.empty() || s.stage == stage || s.stage.starts_with(stage + " ")) {
      sum += s.seconds;
      any = true;
    }
  return any ? sum : kNotMeasured;
}
double peak_gib(const RunRecord& r, uint64_t StageRow::*bytes) {
  uint64_t peak = 0;
  for (const StageRow& s : r.timing)
    peak = std::max(peak, s.*bytes);
  return peak == 0 ? kNotMeasured : static_cast<double>(peak) / kGiB;
}

Shown average(const ColumnSpec& spec, std::string title, int decimals, double MatrixRow::*value) {
  return number(spec, std::move(title), decimals, [value](const RunRecord& r) { return weight_average(r.matrices, value); });
}
Shown stored(const ColumnSpec& spec, std::string title, int decimals, double StorageSummary::*value) {
  return number(spec, std::move(title), decimals, [value](const RunRecord& r) { return r.storage.*value; });
}

void add_column(const ColumnSpec& c, const Records& records, std::vector<Shown>& out) {
  const std::string& n = c.column;
  const auto rest = [&](std::string_view prefix) { return n.substr(prefix.size()); };
  if (n == "label") {
    out.push_back(text(c, "label", [](const RunRecord& r) { return r.label; }));
    out.back().keep = true;
  } else if (n == "status")
    out.push_back(text(c, "status", [](const RunRecord& r) { return r.status; }));
  else if (n == "run")
    out.push_back(text(c, "run", [](const RunRecord& r) { return r.run_key.substr(0, kKeyShown); }));
  else if (n == "perplexity")
    add_metric(c, kMetricPerplexity, "perplexity", 3, records, out);
  else if (n == "kl")
    add_metric(c, kMetricKl, "KL", 4, records, out);
  else if (n == "top1")
    add_metric(c, kMetricTop1, "top-1 agreement", 4, records, out);
  else if (n.starts_with("metric."))
    add_metric(c, rest("metric."), rest("metric."), 4, records, out);
  else if (n == "D")
    out.push_back(average(c, "D", 5, &MatrixRow::d));
  else if (n == "gram_loss")
    out.push_back(average(c, "Gram loss", 5, &MatrixRow::gram_loss));
  else if (n == "excess_stored")
    out.push_back(average(c, "stored excess", 3, &MatrixRow::excess_stored));
  else if (n == "excess_paper")
    out.push_back(average(c, "paper excess", 3, &MatrixRow::excess_paper));
  else if (n == "paper_bits")
    out.push_back(stored(c, "paper bits", 3, &StorageSummary::paper_bits));
  else if (n == "paper_weight_bits")
    out.push_back(stored(c, "paper weight bits", 3, &StorageSummary::paper_weight_bits));
  else if (n == "paper_scaling_bits")
    out.push_back(stored(c, "paper scaling bits", 3, &StorageSummary::paper_scaling_bits));
  else if (n == "stored_bits")
    out.push_back(stored(c, "stored bits", 3, &StorageSummary::stored_bits));
  else if (n == "whole_model_bits")
    out.push_back(stored(c, "whole-model bits", 3, &StorageSummary::whole_model_bits));
  else if (n == "file_mib")
    out.push_back(number(c, "file MiB", 1, [](const RunRecord& r) {
      return r.storage.file_bytes == 0 ? kNotMeasured : static_cast<double>(r.storage.file_bytes) / kMiB;
    }));
  else if (n == "peak_gib")
    out.push_back(number(c, "peak GiB", 2, [](const RunRecord& r) { return peak_gib(r, &StageRow::peak_bytes); }));
  else if (n == "device_gib")
    out.push_back(number(c, "device GiB", 2, [](const RunRecord& r) { return peak_gib(r, &StageRow::device_peak_bytes); }));
  else if (n == "seconds")
    out.push_back(number(c, "seconds", 1, [](const RunRecord& r) { return total_seconds(r, ""); }));
  else if (n.starts_with("seconds."))
    out.push_back(number(c, rest("seconds.") + " s", 1,
                         [stage = rest("seconds.")](const RunRecord& r) { return total_seconds(r, stage); }));
  else if (n == "backend")
    out.push_back(text(c, "backend", [](const RunRecord& r) { return r.provenance.backend; }));
  else if (n == "device")
    out.push_back(text(c, "device", device_of));
  else if (n == "commit")
    out.push_back(text(c, "commit", [](const RunRecord& r) { return short_commit(r.provenance); }));
  else if (n.starts_with("config."))
    out.push_back(text(c, rest("config."), [path = rest("config.")](const RunRecord& r) {
      for (const ConfigEntry& e : r.config)
        if (e.path == path) return e.value;
      return std::string();
    }));
}

bool absent(const Cell& c) { return !c.text && (!c.value || std::isnan(*c.value)); }
bool same(const Cell& a, const Cell& b) {
  if (absent(a) || absent(b)) return absent(a) && absent(b);
  return a.text == b.text && a.value == b.value && a.error == b.error;
}

// Drops columns without content, and those with one content for all; the latter go to `constants` as "stored bits 4.031".
std::vector<Shown> varying(std::vector<Shown> columns, const Records& records, bool keep_constant, std::string& constants) {
  std::vector<Shown> out;
  for (Shown& c : columns) {
    std::vector<Cell> cells;
    for (const RunRecord* r : records)
      cells.push_back(c.cell(*r));
    const bool empty = std::all_of(cells.begin(), cells.end(), absent);
    const bool equal = std::all_of(cells.begin(), cells.end(), [&](const Cell& x) { return same(x, cells[0]); });
    if (c.keep || (!empty && (keep_constant || cells.size() < 2 || !equal))) {
      out.push_back(std::move(c));
    } else if (!empty) {
      Table one({c.head});
      one.add_row({cells[0]});
      std::string shown = one.render(TableFormat::kText);  // heading, rule, value
      shown.erase(0, shown.find('\n', shown.find('\n') + 1) + 1);
      shown.erase(0, shown.find_first_not_of(' '));
      constants += fmt::format("{}{} {}", constants.empty() ? "" : ", ", c.head.name, shown.substr(0, shown.find('\n')));
    }
  }
  return out;
}

struct Labelled {
  std::string label;
  const RunRecord* record;
};

// "Model: A" where all agree, else "Models differ: A (x, y); B (z)."
void describe(const std::string& one, const std::string& several, const std::vector<Labelled>& rows,
              const std::function<std::string(const RunRecord&)>& of, std::string& common, std::string& notes) {
  std::vector<std::pair<std::string, std::string>> groups;  // value, labels
  for (const Labelled& row : rows) {
    const std::string value = of(*row.record);
    if (value.empty()) continue;
    const auto at = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == value; });
    if (at == groups.end())
      groups.emplace_back(value, row.label);
    else
      at->second += ", " + row.label;
  }
  if (groups.size() == 1 && !one.empty()) common += fmt::format("{}{}: {}.", common.empty() ? "" : " ", one, groups[0].first);
  if (groups.size() < 2) return;
  std::string list;
  for (const auto& [value, labels] : groups)
    list += fmt::format("{}{} ({})", list.empty() ? "" : "; ", value, labels);
  notes += fmt::format("{} differ: {}.\n", several, list);
}

// Perplexity's own protocol and windows; with several evaluations, one after another.
void describe_protocols(const std::vector<Labelled>& rows, const Records& records, std::string& common, std::string& notes) {
  const std::vector<std::string> tasks = tasks_with(records, kMetricPerplexity);
  for (const std::string& task : tasks) {
    const std::string suffix = tasks.size() > 1 ? " of " + task : "";
    describe(
        "Protocol" + suffix, "Protocols" + suffix, rows,
        [&](const RunRecord& r) {
          const MetricRow* m = find_metric(r, kMetricPerplexity, task);
          return m == nullptr ? std::string() : fmt::format("{}, {} windows", m->protocol.empty() ? task : m->protocol, m->n);
        },
        common, notes);
  }
}

// Each note once.
void add_notes(const Records& records, std::string RunProvenance::*field, std::string& common) {
  std::vector<std::string> seen;
  for (const RunRecord* r : records) {
    const std::string& note = r->provenance.*field;
    if (note.empty() || std::find(seen.begin(), seen.end(), note) != seen.end()) continue;
    seen.push_back(note);
    common +=
        fmt::format("{}Note: {}.", common.empty() ? "" : " ", note.ends_with('.') ? note.substr(0, note.size() - 1) : note);
  }
}

std::string caption_of(const std::vector<SelectedRun>& runs, const std::vector<Labelled>& rows, const Records& records,
                       const TableSpec& spec, const std::string& constants) {
  std::string common, notes;
  describe(
      "Model", "Models", rows, [](const RunRecord& r) { return with_digest(model_of(r), r.provenance.model_digest); }, common,
      notes);
  add_notes(records, &RunProvenance::model_note, common);
  describe(
      "Text", "Texts", rows, [](const RunRecord& r) { return with_digest(r.provenance.text_name, r.provenance.text_digest); },
      common, notes);
  add_notes(records, &RunProvenance::text_note, common);
  describe_protocols(rows, records, common, notes);
  describe(
      "", "Commits", rows, [](const RunRecord& r) { return short_commit(r.provenance); }, common, notes);
  describe("", "Devices", rows, device_of, common, notes);
  describe(
      "", "Backends", rows, [](const RunRecord& r) { return r.provenance.backend; }, common, notes);
  if (!constants.empty()) common += fmt::format("{}In every row: {}.", common.empty() ? "" : " ", constants);

  const bool errors = std::any_of(records.begin(), records.end(), [](const RunRecord* r) {
    return std::any_of(r->metrics.begin(), r->metrics.end(),
                       [](const MetricRow& m) { return std::isfinite(m.standard_error); });
  });
  if (errors) common += fmt::format("{}± is one standard error over windows.", common.empty() ? "" : " ");
  if (std::any_of(records.begin(), records.end(), [](const RunRecord* r) { return r->numerics == "reference"; }))
    notes += fmt::format("{} decoded with FP32 parameters (numerics: reference), which no file of the stored size holds.\n",
                         kReferenceMark);

  size_t complete = 0, all = 0;
  for (const SelectedRun& run : runs) {
    all += run.count;
    if (run.record && run.record->complete())
      complete += run.count;
    else if (run.record)
      notes += fmt::format("{} failed (exit {}): {}\n", run.label, run.record->failure.exit_code, run.record->failure.message);
    else
      notes += fmt::format("{}: {}\n", run.label, run.problem);
  }
  if (complete < all)
    notes += fmt::format("{} of {} runs complete; the command that made them resumes the rest.\n", complete, all);

  std::string caption = spec.title.empty() ? "" : spec.title + (spec.title.ends_with('.') ? "\n" : ".\n");
  if (!common.empty()) caption += common + '\n';
  caption += notes;
  if (caption.ends_with('\n')) caption.pop_back();
  return caption;
}

void sort_runs(std::vector<SelectedRun>& runs, const std::string& column) {
  Records records;
  for (const SelectedRun& run : runs)
    if (run.record && run.record->complete()) records.push_back(&*run.record);
  std::vector<Shown> shown;
  add_column({column, "", -1}, records, shown);
  if (shown.empty()) return;
  const auto before = [&](const SelectedRun& a, const SelectedRun& b) {
    const auto value = [&](const SelectedRun& run) {
      return run.record && run.record->complete() ? shown[0].cell(*run.record) : Cell();
    };
    const Cell x = value(a), y = value(b);
    if (absent(x) || absent(y)) return !absent(x) && absent(y);
    if (x.text || y.text) return x.text < y.text;
    return *x.value < *y.value;
  };
  std::stable_sort(runs.begin(), runs.end(), before);
}

}  // namespace

double weight_average(const std::vector<MatrixRow>& matrices, double MatrixRow::*value) {
  double sum = 0, weights = 0;
  for (const MatrixRow& m : matrices) {
    if (std::isnan(m.*value)) continue;
    const double n = static_cast<double>(m.rows) * static_cast<double>(m.cols);
    sum += n * (m.*value);
    weights += n;
  }
  return weights > 0 ? sum / weights : kNotMeasured;
}

const MetricRow* find_metric(const RunRecord& record, const std::string& metric, const std::string& task) {
  for (const MetricRow& m : record.metrics)
    if (m.metric == metric && m.task == task) return &m;
  return nullptr;
}

std::vector<std::string> tasks_with(const std::vector<const RunRecord*>& records, const std::string& metric) {
  std::vector<std::string> tasks;
  for (const RunRecord* r : records)
    for (const MetricRow& m : r->metrics)
      if (m.metric == metric && std::find(tasks.begin(), tasks.end(), m.task) == tasks.end()) tasks.push_back(m.task);
  return tasks;
}

std::string short_commit(const RunProvenance& p) {
  return p.commit.empty() ? "" : p.commit.substr(0, 8) + (p.dirty ? "*" : "");
}

Table make_report(std::vector<SelectedRun> runs, const TableSpec& spec) {
  if (!spec.sort.empty()) sort_runs(runs, spec.sort);
  Records records;
  std::vector<Labelled> labelled;
  for (const SelectedRun& run : runs)
    if (run.record && run.record->complete()) {
      records.push_back(&*run.record);
      labelled.push_back({run.label, &*run.record});
    }
  std::vector<Shown> columns;
  for (const ColumnSpec& c : spec.columns)
    add_column(c, records, columns);
  std::string constants;
  columns = varying(std::move(columns), records, spec.keep_constant, constants);

  std::vector<Table::Column> heads;
  for (const Shown& c : columns)
    heads.push_back(c.head);
  Table table(heads);
  const auto is_label = [&](size_t c) { return columns[c].keep && !columns[c].head.number; };
  for (const SelectedRun& run : runs) {
    const bool complete = run.record && run.record->complete();
    std::vector<Cell> cells;
    bool said = complete;
    for (size_t c = 0; c < columns.size(); ++c) {
      if (is_label(c)) {
        const bool reference = complete && run.record->numerics == "reference";
        cells.emplace_back(run.label + (reference ? kReferenceMark : ""));
      } else if (complete) {
        cells.push_back(columns[c].cell(*run.record));
      } else if (!said && run.record) {
        cells.emplace_back("failed");
        said = true;
      } else {
        cells.emplace_back();
      }
    }
    table.add_row(std::move(cells));
  }
  table.set_caption(caption_of(runs, labelled, records, spec, constants));
  return table;
}

}  // namespace sage
