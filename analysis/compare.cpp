#include "analysis/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "analysis/labels.h"
#include "analysis/report.h"
#include "results/coverage.h"

namespace sage {
namespace {

using Cell = Table::Cell;

constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;

std::vector<std::string> headings(std::vector<SelectedRun> runs) {
  tell_apart(runs);
  std::vector<std::string> out;
  for (const SelectedRun& run : runs)
    out.push_back(run.label);
  return out;
}

std::map<std::string, std::string> settings(const RunRecord& r) {
  std::map<std::string, std::string> out;
  for (const ConfigEntry& e : r.config)
    out[e.path] = e.value;
  const RunProvenance& p = r.provenance;
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, std::string>>{{"(backend)", p.backend},
                                                                  {"(commit)", short_commit(p)},
                                                                  {"(cpu)", p.cpu},
                                                                  {"(gpu)", p.gpu},
                                                                  {"(model sha256)", p.model_digest.substr(0, 12)},
                                                                  {"(numerics)", r.numerics},
                                                                  {"(text sha256)", p.text_digest.substr(0, 12)},
                                                                  {"(tokenizer sha256)", p.tokenizer_digest.substr(0, 12)}})
    if (!value.empty()) out[name] = value;
  return out;
}

Table configuration_table(const std::vector<SelectedRun>& runs, const std::vector<std::string>& names) {
  std::vector<Table::Column> columns{{"setting"}};
  for (const std::string& name : names)
    columns.push_back({name});
  Table table(columns);
  std::vector<std::map<std::string, std::string>> all;
  std::map<std::string, bool> paths;
  for (const SelectedRun& run : runs) {
    all.push_back(settings(*run.record));
    for (const auto& entry : all.back())
      paths[entry.first] = true;
  }
  for (const auto& path : paths) {
    std::vector<Cell> row{path.first};
    bool equal = true;
    for (const auto& one : all) {
      const auto at = one.find(path.first);
      row.push_back(at == one.end() ? Cell() : Cell(at->second));
      equal = equal && row.back().text == row[1].text;
    }
    if (!equal) table.add_row(std::move(row));
  }
  if (table.rows().empty()) table.set_caption("The configurations are equal.");
  return table;
}

class MetricsTable {
 public:
  MetricsTable(const std::vector<SelectedRun>& runs, const std::vector<std::string>& names)
      : runs_(runs), table_(columns(names)), names_(names) {}

  using Value = std::function<Cell(const RunRecord&)>;
  // The difference of run `i` from the first, where it is more than a subtraction.
  using Difference = std::function<PairedDifference(const RunRecord& first, const RunRecord& other)>;

  void add(const std::string& name, const Value& value, const Difference& paired = nullptr) {
    std::vector<Cell> row{name}, differences;
    bool any = false;
    const Cell first = value(*runs_[0].record);
    for (size_t i = 0; i < runs_.size(); ++i) {
      const Cell here = value(*runs_[i].record);
      any = any || (here.value && !std::isnan(*here.value));
      row.push_back(here);
      if (i == 0) continue;
      PairedDifference d;
      if (paired) d = paired(*runs_[0].record, *runs_[i].record);
      if (d.n > 0)
        differences.emplace_back(d.mean, d.standard_error);
      else if (first.value && here.value)
        differences.emplace_back(*here.value - *first.value);
      else
        differences.emplace_back();
    }
    row.insert(row.end(), differences.begin(), differences.end());
    if (any) table_.add_row(std::move(row));
  }

  void add_task(const std::string& task, bool several) {
    const std::string suffix = several ? " " + task : "";
    using Paired = PairedDifference (*)(std::span<const double>, std::span<const double>);
    const auto paired = [&](std::vector<double> EvalSeries::*which, Paired rule) -> Difference {
      return [task, which, rule](const RunRecord& a, const RunRecord& b) {
        if (!unpaired_because(a, b, task).empty()) return PairedDifference{};
        const auto &x = find_series(a, task)->*which, &y = find_series(b, task)->*which;
        return x.size() == y.size() ? rule(x, y) : PairedDifference{};
      };
    };
    const auto metric = [task](const char* name) -> Value {
      return [task, name](const RunRecord& r) {
        const MetricRow* m = find_metric(r, name, task);
        return m == nullptr ? Cell() : Cell(m->value, m->standard_error);
      };
    };
    const auto mean_nll = [task](const RunRecord& r) {
      const EvalSeries* e = find_series(r, task);
      if (e == nullptr || e->nll.empty()) return Cell();
      double sum = 0;
      for (double x : e->nll)
        sum += x;
      return Cell(sum / static_cast<double>(e->nll.size()));
    };
    add("perplexity" + suffix, metric(kMetricPerplexity), paired(&EvalSeries::nll, paired_perplexity_difference));
    add("mean NLL" + suffix, mean_nll, paired(&EvalSeries::nll, paired_difference));
    add("KL" + suffix, metric(kMetricKl), paired(&EvalSeries::kl, paired_difference));
    add("top-1 agreement" + suffix, metric(kMetricTop1), paired(&EvalSeries::top1, paired_difference));
    for (size_t i = 1; i < runs_.size(); ++i)
      if (const std::string why = unpaired_because(*runs_[0].record, *runs_[i].record, task); !why.empty())
        notes_ += fmt::format("\n{} is not paired with {} on {}: {}.", names_[i], names_[0], task, why);
  }

  Table done() {
    table_.set_caption(
        fmt::format("Differences are from {}. With ±: paired window by window, one standard error.{}", names_[0], notes_));
    return std::move(table_);
  }

 private:
  static std::vector<Table::Column> columns(const std::vector<std::string>& names) {
    std::vector<Table::Column> out{{"figure"}};
    for (const std::string& n : names)
      out.push_back({n, true, 4});
    for (size_t i = 1; i < names.size(); ++i)
      out.push_back({names.size() == 2 ? "difference" : "difference " + names[i], true, 4});
    return out;
  }
  const std::vector<SelectedRun>& runs_;
  Table table_;
  std::vector<std::string> names_;
  std::string notes_;
};

}  // namespace

const EvalSeries* find_series(const RunRecord& r, const std::string& task) {
  for (const EvalSeries& e : r.eval)
    if (e.task == task) return &e;
  return nullptr;
}

std::string unpaired_because(const RunRecord& a, const RunRecord& b, const std::string& task) {
  const EvalSeries *x = find_series(a, task), *y = find_series(b, task);
  if (x == nullptr || y == nullptr || x->nll.empty() || y->nll.empty()) return "one run kept no windows";
  if (x->nll.size() != y->nll.size()) return fmt::format("{} and {} windows", x->nll.size(), y->nll.size());
  if (text_digest_of(a, task) != text_digest_of(b, task)) return "other texts";
  if (a.provenance.tokenizer_digest != b.provenance.tokenizer_digest) return "other tokenizers";
  const MetricRow *m = find_metric(a, kMetricPerplexity, task), *n = find_metric(b, kMetricPerplexity, task);
  if (m != nullptr && n != nullptr && m->protocol != n->protocol) return "other protocols";
  return "";
}

PairedDifference paired_difference(std::span<const double> a, std::span<const double> b) {
  PairedDifference out;
  out.n = std::min(a.size(), b.size());
  if (out.n == 0) return out;
  const auto n = static_cast<double>(out.n);
  double sum = 0;
  for (size_t i = 0; i < out.n; ++i)
    sum += b[i] - a[i];
  out.mean = sum / n;
  if (out.n < 2) return out;
  double squares = 0;
  for (size_t i = 0; i < out.n; ++i)
    squares += (b[i] - a[i] - out.mean) * (b[i] - a[i] - out.mean);
  out.standard_error = std::sqrt(squares / (n * (n - 1)));
  return out;
}

PairedDifference paired_perplexity_difference(std::span<const double> a, std::span<const double> b) {
  const auto perplexity = [](std::span<const double> nll) {
    double sum = 0;
    for (double x : nll)
      sum += x;
    return std::exp(sum / static_cast<double>(nll.size()));
  };
  if (a.empty() || a.size() != b.size()) return {};
  const double pa = perplexity(a), pb = perplexity(b);
  std::vector<double> x(a.begin(), a.end()), y(b.begin(), b.end());
  for (double& v : x)
    v *= pa;
  for (double& v : y)
    v *= pb;
  PairedDifference out = paired_difference(x, y);
  out.mean = pb - pa;
  return out;
}

Comparison compare_runs(const std::vector<SelectedRun>& runs) {
  const std::vector<std::string> names = headings(runs);
  MetricsTable metrics(runs, names);
  std::vector<const RunRecord*> records;
  for (const SelectedRun& run : runs)
    records.push_back(&*run.record);
  const std::vector<std::string> tasks = tasks_with(records, kMetricPerplexity);
  for (const std::string& task : tasks)
    metrics.add_task(task, tasks.size() > 1);
  const auto add_storage = [&](const char* name, double StorageSummary::*value) {
    metrics.add(name, [value](const RunRecord& r) { return Cell(r.storage.*value); });
  };
  metrics.add("D", [](const RunRecord& r) { return Cell(weight_average(r.matrices, &MatrixRow::d)); });
  metrics.add("Gram loss", [](const RunRecord& r) { return Cell(weight_average(r.matrices, &MatrixRow::gram_loss)); });
  add_storage("paper bits", &StorageSummary::paper_bits);
  add_storage("stored bits", &StorageSummary::stored_bits);
  if (std::any_of(runs.begin(), runs.end(), [](const SelectedRun& run) { return !matrices_quantized(*run.record).empty(); }))
    metrics.add("matrices quantized", [](const RunRecord& r) { return Cell(static_cast<double>(r.matrices.size())); });
  add_storage("whole-model bits", &StorageSummary::whole_model_bits);
  metrics.add("seconds", [](const RunRecord& r) {
    double sum = 0;
    for (const StageRow& s : r.timing)
      sum += s.seconds;
    return r.timing.empty() ? Cell() : Cell(sum);
  });
  const auto add_peak = [&](const char* name, uint64_t StageRow::*bytes) {
    metrics.add(name, [bytes](const RunRecord& r) {
      uint64_t peak = 0;
      for (const StageRow& s : r.timing)
        peak = std::max(peak, s.*bytes);
      return peak == 0 ? Cell() : Cell(static_cast<double>(peak) / kGiB);
    });
  };
  add_peak("peak GiB", &StageRow::peak_bytes);
  add_peak("device GiB", &StageRow::device_peak_bytes);
  return {configuration_table(runs, names), metrics.done()};
}

}  // namespace sage
