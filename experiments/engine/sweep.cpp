#include "experiments/engine/sweep.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/pipeline/pipeline_config.h"
#include "core/util/files.h"
#include "core/util/log.h"

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
  make_folders(options.folder);
  SweepOutcome out;
  out.manifest = options.folder + "/sweep.json";
  std::vector<std::string> keys;
  for (const Point& p : expansion.points) keys.push_back(runner.key_of(p.experiment));
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
      log_info("{}: {}perplexity {:.4g}, {:.3f} paper bits, {:.3f} stored bits, quantized in {:.1f} s, evaluated in {:.1f} s", head, r.reused ? "stored already: " : "", ppl,
               r.record.storage.paper_bits, r.record.storage.stored_bits, seconds_of(r.record, "quantize"), seconds_of(r.record, "evaluate"));
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

Table plan_sweep(const Expansion& expansion, Runner& runner) {
  int stored = 0, failed = 0, quantized = 0, calibrated = 0;
  double linear_weights = 0, flops = 0, calibration_flops = 0;
  for (const Point& p : expansion.points) {
    const std::string key = runner.key_of(p.experiment);
    if (runner.store().exists(key)) {
      ++stored;
      continue;
    }
    failed += runner.store().failed(key) ? 1 : 0;
    const CheckpointSource& m = runner.model(p.experiment.model_path);
    double weights = 0;
    for (const LinearSite& s : linear_sites(find_family(m.config()), m.config())) weights += static_cast<double>(s.rows * s.cols);
    if (!is_full_precision(p.experiment.pipeline)) {
      ++quantized;
      linear_weights += weights;
    }
    if (const CalibrationConfig& c = p.experiment.calibration; p.experiment.calibrates) {
      ++calibrated;
      // Every block runs twice: with its own weights for the Grams, and quantized for the inputs of the next one.
      calibration_flops += 2 * 2 * weights * static_cast<double>(c.samples) * c.length_tokens;
    }
    const double head = static_cast<double>(m.config().vocab_size * m.config().hidden_size);
    flops += 2 * (weights + head) * static_cast<double>(runner.evaluation_tokens(p.experiment));
  }
  // Rates seen on this store's runs, the machine's own history; guesses until there are some.
  double quantize_rate = 0, quantize_seconds = 0, evaluate_rate = 0, evaluate_seconds = 0;
  int seen = 0;
  for (const StoredRun& run : runner.store().list()) {
    if (!run.error.empty() || !run.record.complete()) continue;
    ++seen;
    if (!run.record.full_precision) {
      quantize_rate += static_cast<double>(run.record.storage.linear_weights);
      quantize_seconds += seconds_of(run.record, "quantize");
    }
    for (const MetricRow& m : run.record.metrics)
      if (m.metric == kMetricPerplexity) evaluate_rate += static_cast<double>(m.n);
    evaluate_seconds += seconds_of(run.record, "evaluate");
  }
  const int to_run = static_cast<int>(expansion.points.size()) - stored;
  Table t({{"stage"}, {"points", true, 0}, {"work"}, {"minutes", true, 1}, {"basis"}});
  const bool measured = quantize_seconds > 0;
  const double q = measured ? quantize_rate / quantize_seconds : 30e6;
  constexpr double kAssumedFlops = 80e9;
  if (calibrated > 0)
    t.add_row({"calibrate", static_cast<double>(calibrated), fmt::format("{:.2f} TFLOP of forward passes", calibration_flops * 1e-12),
               calibration_flops / kAssumedFlops / 60, "assumed 80 GFLOP/s"});
  t.add_row({"quantize", static_cast<double>(quantized), fmt::format("{:.0f} million weights", linear_weights * 1e-6), linear_weights / q / 60,
             measured ? fmt::format("{} stored runs", seen) : "assumed 30 million weights/s"});
  t.add_row({"evaluate", static_cast<double>(to_run), fmt::format("{:.2f} TFLOP", flops * 1e-12), flops / kAssumedFlops / 60, "assumed 80 GFLOP/s"});
  t.set_caption(fmt::format("{}: {} points, {} stored already, {} failed before, {} to run", expansion.name, expansion.points.size(), stored, failed, to_run));
  (void)evaluate_rate;
  (void)evaluate_seconds;
  return t;
}

}  // namespace sage
