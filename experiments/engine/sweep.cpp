#include "experiments/engine/sweep.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/eval/protocol.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "results/coverage.h"

namespace sage {
namespace fs = std::filesystem;
namespace {

void write_manifest(const std::string& path, const std::string& name, const std::vector<Point>& points, const std::vector<std::string>& keys, const Store& store) {
  nlohmann::json j = {{"name", name}, {"points", nlohmann::json::array()}};
  const fs::path folder = fs::absolute(path).parent_path();
  for (size_t i = 0; i < keys.size(); ++i) {
    const std::string file = store.exists(keys[i]) ? store.path_of(keys[i]) : store.failed_path_of(keys[i]);
    j["points"].push_back({{"label", points[i].label}, {"key", keys[i]}, {"run_file", fs::relative(fs::absolute(file), folder).string()}});
  }
  write_file_atomically(path, j.dump(2) + "\n");
}

double seconds_of(const RunRecord& r, const std::string& stage) {
  double s = 0;
  for (const StageRow& row : r.timing)
    if (row.stage.rfind(stage, 0) == 0) s += row.seconds;
  return s;
}

}  // namespace

SweepOutcome run_sweep(const Expansion& expansion, Runner& runner, const SweepOptions& options) {
  SweepOutcome out;
  out.manifest = options.folder + "/sweep.json";
  std::vector<std::string> keys;
  for (const Point& p : expansion.points) keys.push_back(runner.key_of(p.experiment));
  make_folders(options.folder);
  write_manifest(out.manifest, expansion.name, expansion.points, keys, runner.store());
  for (size_t i = 0; i < expansion.points.size(); ++i) {
    const Point& point = expansion.points[i];
    const std::string head = fmt::format("[{}/{}] {}", i + 1, expansion.points.size(), point.label);
    if (runner.store().failed(keys[i]) && !runner.store().exists(keys[i]) && !options.retry_failed) {
      out.records.push_back(read_run_file(runner.store().failed_path_of(keys[i]), RunParts::kSummary));
      log_info("{}: failed before ({}); --retry-failed tries it again", head, out.records.back().failure.message);
      ++out.failed;
      continue;
    }
    try {
      if (!runner.store().exists(keys[i])) log_info("{}: started", head);
      RunResult r = runner.run(point.experiment);
      r.record.label = point.label;
      ++(r.reused ? out.reused : out.complete);
      double ppl = kNotMeasured;
      for (const MetricRow& m : r.record.metrics)
        if (m.metric == kMetricPerplexity) {
          ppl = m.value;
          break;
        }
      const std::string share = matrices_quantized(r.record);
      log_info("{}: {}perplexity {:.4g}, {:.3f} paper bits, {:.3f} stored bits, {}quantized in {:.1f} s, evaluated in {:.1f} s",
               head, r.reused ? "stored already: " : "", ppl, r.record.storage.paper_bits, r.record.storage.stored_bits,
               share.empty() ? "" : fmt::format("{} matrices ", share), seconds_of(r.record, "quantize"),
               seconds_of(r.record, "evaluate"));
      out.records.push_back(std::move(r.record));
    } catch (const Error& e) {
      // What is missing or misspelt is missing for every point; only failures of the run itself are the point's own.
      if (e.code() == ExitCode::kUsage) throw;
      const std::string file = runner.record_failure(point.experiment, keys[i], e);
      log_warning("{}: failed: {}", head, e.what());
      out.records.push_back(read_run_file(file, RunParts::kSummary));
      ++out.failed;
      if (options.fail_fast) break;
    }
    write_manifest(out.manifest, expansion.name, expansion.points, keys, runner.store());
  }
  // A second copy under the sweep's name, so that `report NAME` finds it.
  const std::string named = runner.store().sweep_path(expansion.name);
  make_folders(fs::path(named).parent_path().string());
  for (const std::string& path : {out.manifest, named}) write_manifest(path, expansion.name, expansion.points, keys, runner.store());
  return out;
}

namespace {

// Work done and time taken, of runs or of a plan.
struct Rate {
  double work = 0, seconds = 0;
  void add(double w, double s) {
    if (w <= 0 || s <= 0) return;
    work += w;
    seconds += s;
  }
  double or_assumed(double per_second) const { return seconds > 0 ? work / seconds : per_second; }
};

// Multiplications and additions with the linear layers' weights: what a forward pass mostly is. Head and attention are left out on
// both sides of the comparison.
double forward_flops(double linear_weights, double tokens) { return 2 * linear_weights * tokens; }

}  // namespace

Table plan_sweep(const Expansion& expansion, Runner& runner) {
  int stored = 0, failed = 0, quantized = 0, calibrated = 0;
  double linear_weights = 0, evaluate_flops = 0, calibrate_flops = 0;
  for (const Point& p : expansion.points) {
    const Experiment& e = p.experiment;
    const std::string key = runner.key_of(e);
    if (runner.store().exists(key)) {
      ++stored;
      continue;
    }
    failed += runner.store().failed(key) ? 1 : 0;
    const CheckpointSource& m = runner.model(e.model_path);
    double weights = 0;
    for (const LinearSite& s : linear_sites(find_family(m.config()), m.config())) weights += static_cast<double>(s.rows * s.cols);
    if (!is_full_precision(e.pipeline)) {
      ++quantized;
      linear_weights += weights;
    }
    if (e.calibrates) {
      ++calibrated;
      const double passes = passes_per_block(e.calibration, find_family(m.config()));
      calibrate_flops += passes * forward_flops(weights, static_cast<double>(e.calibration.samples) * e.calibration.length_tokens);
    }
    evaluate_flops += forward_flops(weights, static_cast<double>(runner.evaluation_tokens(e)));
  }
  // Rates seen on this store's runs, the machine's own history; guesses until there are some.
  Rate quantize, forward;
  int seen = 0;
  for (const StoredRun& run : runner.store().list()) {
    if (!run.error.empty() || !run.record.complete()) continue;
    ++seen;
    const StorageSummary& storage = run.record.storage;
    const double weights = static_cast<double>(storage.linear_weights);
    // Records of schema 1 count quantized weights alone, and of a resumed run the last process's seconds: less than its
    // matrices took.
    const double quantized =
        static_cast<double>(storage.quantized_weights > 0 ? storage.quantized_weights : storage.linear_weights);
    double of_matrices = 0;
    for (const MatrixRow& m : run.record.matrices)
      of_matrices += m.seconds;
    const bool whole = seconds_of(run.record, "quantize") + seconds_of(run.record, "calibrate") >= 0.99 * of_matrices;
    if (!run.record.full_precision && whole) quantize.add(quantized, seconds_of(run.record, "quantize"));
    double tokens = 0;
    for (const MetricRow& m : run.record.metrics)
      if (m.metric == kMetricPerplexity) tokens += static_cast<double>(m.n) * static_cast<double>(find_protocol(m.task.substr(0, m.task.find('@'))).window);
    forward.add(forward_flops(weights, tokens), seconds_of(run.record, "evaluate"));
  }
  const auto basis = [&](const Rate& r, const char* assumed) { return r.seconds > 0 ? fmt::format("{} stored runs", seen) : std::string(assumed); };
  constexpr double kAssumedWeights = 30e6, kAssumedFlops = 80e9;
  Table t({{"stage"}, {"points", true, 0}, {"work"}, {"minutes", true, 1}, {"basis"}});
  if (calibrated > 0)
    t.add_row({"calibrate", static_cast<double>(calibrated), fmt::format("{:.2f} TFLOP", calibrate_flops * 1e-12), calibrate_flops / forward.or_assumed(kAssumedFlops) / 60,
               basis(forward, "assumed 80 GFLOP/s")});
  t.add_row({"quantize", static_cast<double>(quantized), fmt::format("{:.0f} million weights", linear_weights * 1e-6), linear_weights / quantize.or_assumed(kAssumedWeights) / 60,
             basis(quantize, "assumed 30 million weights/s")});
  t.add_row({"evaluate", static_cast<double>(static_cast<int>(expansion.points.size()) - stored), fmt::format("{:.2f} TFLOP", evaluate_flops * 1e-12),
             evaluate_flops / forward.or_assumed(kAssumedFlops) / 60, basis(forward, "assumed 80 GFLOP/s")});
  t.set_caption(fmt::format("{}: {} points, {} stored already, {} failed before, {} to run", expansion.name, expansion.points.size(), stored, failed,
                            static_cast<int>(expansion.points.size()) - stored));
  return t;
}

}  // namespace sage
