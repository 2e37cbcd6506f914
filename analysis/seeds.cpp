#include "analysis/seeds.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "analysis/compare.h"
#include "analysis/report.h"

namespace sage {
namespace {

using Members = std::vector<const SelectedRun*>;
using Series = std::vector<double>;

constexpr const char* kSeedPaths[] = {"seed", "calibration.seed"};
constexpr const char* kSdHeading = "sd over seeds";
constexpr const char* kOverHeading = "over full precision";
constexpr const char* kNaming[] = {"name", "label", "about"};

bool is_one_of(const std::string& path, const auto& names) {
  return std::any_of(std::begin(names), std::end(names), [&](const char* n) { return path == n; });
}

bool complete(const SelectedRun& run) { return run.record && run.record->complete(); }

// All that decides a run's numbers but its seeds; empty for a run whose record names no seed.
std::string all_but_seeds(const RunRecord& r) {
  const RunProvenance& p = r.provenance;
  std::string key = fmt::format("{}\n{}\n{}\n{}\n{}\n", p.model_digest.empty() ? p.model_path : p.model_digest, p.text_digest,
                                p.tokenizer_digest, r.numerics, p.backend.substr(0, p.backend.find(':')));
  bool seeded = false;
  for (const ConfigEntry& e : r.config) {
    seeded = seeded || is_one_of(e.path, kSeedPaths);
    if (!is_one_of(e.path, kSeedPaths) && !is_one_of(e.path, kNaming)) key += fmt::format("{}={}\n", e.path, e.value);
  }
  return seeded ? key : "";
}

std::string seeds_of(const RunRecord& r) {
  std::string out;
  for (const ConfigEntry& e : r.config)
    if (is_one_of(e.path, kSeedPaths)) out += fmt::format("{}={};", e.path, e.value);
  return out;
}

// Groups at the place of their first run; a run with seeds that its group has already is a group of its own.
std::vector<Members> groups_of(const std::vector<SelectedRun>& runs) {
  std::vector<Members> out;
  std::map<std::string, size_t> places;
  std::map<std::string, std::set<std::string>> seen;
  for (const SelectedRun& run : runs) {
    const std::string key = complete(run) ? all_but_seeds(*run.record) : "";
    if (key.empty() || !seen[key].insert(seeds_of(*run.record)).second) {
      out.push_back({&run});
    } else if (const auto [at, fresh] = places.emplace(key, out.size()); fresh) {
      out.push_back({&run});
    } else {
      out[at->second].push_back(&run);
    }
  }
  return out;
}

// "billm, calibration.seed=0, seed=0" -> "billm"
std::string without_seeds(const std::string& label) {
  std::string out;
  for (size_t at = 0; at <= label.size();) {
    const size_t end = std::min(label.find(", ", at), label.size());
    const std::string part = label.substr(at, end - at);
    at = end + 2;
    const size_t equals = part.find('=');
    if (equals != std::string::npos && part.substr(0, equals).ends_with("seed")) continue;
    out += (out.empty() ? "" : ", ") + part;
  }
  return out.empty() ? label : out;
}

double mean_of(const Series& v) {
  double sum = 0;
  for (const double x : v)
    sum += x;
  return v.empty() ? kNotMeasured : sum / static_cast<double>(v.size());
}

double spread_of(const Series& v) {
  if (v.size() < 2) return kNotMeasured;
  // Equal runs have none; their mean, rounded, may lie beside them.
  if (std::all_of(v.begin(), v.end(), [&](double x) { return x == v[0]; })) return 0;
  const double mean = mean_of(v);
  double squares = 0;
  for (const double x : v)
    squares += (x - mean) * (x - mean);
  return std::sqrt(squares / static_cast<double>(v.size() - 1));
}

// Per window, the mean over members of `which`, each scaled by exp(its mean) if `by_perplexity`. Empty where one has no windows
// or another number of them.
Series mean_windows(const Members& members, const std::string& task, Series EvalSeries::*which, bool by_perplexity) {
  Series out;
  for (const SelectedRun* run : members) {
    const EvalSeries* e = find_series(*run->record, task);
    if (e == nullptr || (e->*which).empty()) return {};
    const Series& x = e->*which;
    if (out.empty()) out.resize(x.size());
    if (out.size() != x.size()) return {};
    const double scale = (by_perplexity ? std::exp(mean_of(x)) : 1.0) / static_cast<double>(members.size());
    for (size_t i = 0; i < x.size(); ++i)
      out[i] += scale * x[i];
  }
  return out;
}

double standard_error_of(const Series& windows) {
  const Series nothing(windows.size(), 0.0);
  return paired_difference(nothing, windows).standard_error;
}

const RunRecord* full_precision_of(const std::vector<SelectedRun>& runs, const RunRecord& r) {
  for (const SelectedRun& run : runs)
    if (complete(run) && run.record->full_precision && run.record->provenance.model_digest == r.provenance.model_digest)
      return &*run.record;
  return nullptr;
}

// Metrics of the first member, each over all members that have it.
void merge_metrics(const Members& members, RunRecord& out) {
  out.metrics.clear();
  for (const MetricRow& first : members[0]->record->metrics) {
    Series values;
    for (const SelectedRun* run : members)
      if (const MetricRow* m = find_metric(*run->record, first.metric, first.task)) values.push_back(m->value);
    MetricRow row = first;
    row.value = mean_of(values);
    if (members.size() > 1) {
      const bool perplexity = first.metric == kMetricPerplexity;
      const auto which = perplexity                    ? &EvalSeries::nll
                         : first.metric == kMetricKl   ? &EvalSeries::kl
                         : first.metric == kMetricTop1 ? &EvalSeries::top1
                                                       : nullptr;
      row.standard_error =
          which == nullptr ? kNotMeasured : standard_error_of(mean_windows(members, first.task, which, perplexity));
      if (perplexity || first.metric == kMetricKl) {
        MetricRow spread = first;
        spread.metric = perplexity ? kSpreadOfPerplexity : kSpreadOfKl;
        spread.value = spread_of(values);
        spread.standard_error = kNotMeasured;
        out.metrics.push_back(spread);
      }
    }
    out.metrics.push_back(row);
  }
}

void add_distance(const Members& members, const RunRecord* base, RunRecord& out) {
  if (base == nullptr || members[0]->record->full_precision) return;
  for (const std::string& task : tasks_with({&out}, kMetricPerplexity)) {
    for (const SelectedRun* run : members)
      if (!unpaired_because(*base, *run->record, task).empty()) return;
    SelectedRun alone;
    alone.record = *base;
    const Series ours = mean_windows(members, task, &EvalSeries::nll, true);
    const Series theirs = mean_windows({&alone}, task, &EvalSeries::nll, true);
    const PairedDifference d = paired_difference(theirs, ours);
    if (d.n == 0) continue;
    MetricRow row = *find_metric(out, kMetricPerplexity, task);
    row.metric = kOverFullPrecision;
    row.value = find_metric(out, kMetricPerplexity, task)->value - find_metric(*base, kMetricPerplexity, task)->value;
    row.standard_error = d.standard_error;
    out.metrics.push_back(row);
  }
}

void merge_storage(const Members& members, StorageSummary& out) {
  for (const auto field :
       {&StorageSummary::stored_bits, &StorageSummary::paper_weight_bits, &StorageSummary::paper_scaling_bits,
        &StorageSummary::paper_bits, &StorageSummary::whole_model_bits}) {
    Series values;
    for (const SelectedRun* run : members)
      values.push_back(run->record->storage.*field);
    out.*field = mean_of(values);
  }
  uint64_t sum = 0;
  for (const SelectedRun* run : members)
    sum += run->record->storage.file_bytes;
  out.file_bytes = sum / members.size();
}

void merge_timing(const Members& members, std::vector<StageRow>& out) {
  for (StageRow& stage : out) {
    Series seconds;
    for (const SelectedRun* run : members)
      for (const StageRow& s : run->record->timing)
        if (s.stage == stage.stage) {
          seconds.push_back(s.seconds);
          stage.peak_bytes = std::max(stage.peak_bytes, s.peak_bytes);
          stage.device_peak_bytes = std::max(stage.device_peak_bytes, s.device_peak_bytes);
        }
    stage.seconds = mean_of(seconds);
  }
}

SelectedRun merged(const Members& members, const RunRecord* base) {
  SelectedRun out = *members[0];
  RunRecord& r = *out.record;
  merge_metrics(members, r);
  if (members.size() > 1) {
    out.label = without_seeds(out.label);
    out.path.clear();
    out.count = members.size();
    r.label = out.label;
    r.run_key.clear();
    r.eval.clear();
    std::erase_if(r.config, [&](const ConfigEntry& e) { return is_one_of(e.path, kSeedPaths); });
    merge_storage(members, r.storage);
    merge_timing(members, r.timing);
    for (size_t i = 1; i < members.size(); ++i)
      r.matrices.insert(r.matrices.end(), members[i]->record->matrices.begin(), members[i]->record->matrices.end());
  }
  add_distance(members, base, r);
  MetricRow seeds;
  seeds.metric = kSeeds;
  seeds.value = static_cast<double>(members.size());
  r.metrics.push_back(seeds);
  return out;
}

}  // namespace

bool repeats_seeds(const std::vector<SelectedRun>& runs) {
  const std::vector<Members> groups = groups_of(runs);
  return std::any_of(groups.begin(), groups.end(), [](const Members& m) { return m.size() > 1; });
}

std::vector<SelectedRun> merge_seeds(const std::vector<SelectedRun>& runs) {
  std::vector<SelectedRun> out;
  for (const Members& members : groups_of(runs))
    out.push_back(complete(*members[0]) ? merged(members, full_precision_of(runs, *members[0]->record)) : *members[0]);
  return out;
}

Table make_seed_report(const std::vector<SelectedRun>& runs, const TableSpec& spec) {
  TableSpec wider = spec;
  wider.columns.clear();
  for (const ColumnSpec& c : spec.columns) {
    wider.columns.push_back(c);
    if (c.column == "label") wider.columns.push_back({std::string("metric.") + kSeeds, "seeds", 0});
    if (c.column == "perplexity") {
      wider.columns.push_back({std::string("metric.") + kSpreadOfPerplexity, kSdHeading, 3});
      wider.columns.push_back({std::string("metric.") + kOverFullPrecision, kOverHeading, 3});
    }
    if (c.column == "kl") wider.columns.push_back({std::string("metric.") + kSpreadOfKl, std::string("KL ") + kSdHeading, 4});
  }
  Table table = make_report(merge_seeds(runs), wider);
  std::string caption = table.caption();
  const auto shown = [&](const std::string& part) {
    return std::any_of(table.columns().begin(), table.columns().end(),
                       [&](const Table::Column& c) { return c.name.find(part) != std::string::npos; }) ||
           table.caption().find(part) != std::string::npos;  // a column that is equal in every row
  };
  caption += fmt::format("\nRows with several seeds are means over runs that differ in nothing else{}; --each lists them.{}",
                         shown(kSdHeading) ? "; sd is the standard deviation of such runs" : "",
                         shown(kOverHeading) ? " over full precision is paired window by window." : "");
  for (const Members& members : groups_of(runs)) {
    const bool alike = std::all_of(members.begin(), members.end(), [&](const SelectedRun* run) {
      return !complete(*run) || (short_commit(run->record->provenance) == short_commit(members[0]->record->provenance) &&
                                 run->record->provenance.gpu == members[0]->record->provenance.gpu &&
                                 run->record->provenance.cpu == members[0]->record->provenance.cpu);
    });
    if (!alike)
      caption += fmt::format("\nThe seeds of {} come from different commits or devices.", without_seeds(members[0]->label));
  }
  table.set_caption(caption);
  return table;
}

}  // namespace sage
