#include "experiments/engine/sweep.h"

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "core/eval/protocol.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/file_lock.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "core/util/stop.h"
#include "core/util/write_error.h"
#include "experiments/engine/provenance.h"
#include "results/coverage.h"

namespace sage {
namespace fs = std::filesystem;
namespace {

double seconds_of(const RunRecord& r, const std::string& stage) {
  double s = 0;
  for (const StageRow& row : r.timing)
    if (row.stage.rfind(stage, 0) == 0) s += row.seconds;
  return s;
}

constexpr std::chrono::milliseconds kLookAgain{500};
constexpr uint64_t kMaxManifestBytes = uint64_t{64} << 20;

double perplexity_of(const RunRecord& r) {
  for (const MetricRow& m : r.metrics)
    if (m.metric == kMetricPerplexity) return m.value;
  return kNotMeasured;
}

// The list of a sweep's runs, in its folder and under its name in the store.
class Manifest {
 public:
  Manifest(const Expansion& expansion, std::vector<std::string> keys, const std::string& folder, const Store& store)
      : expansion_(expansion),
        keys_(std::move(keys)),
        path_(folder + "/sweep.json"),
        named_(store.sweep_path(expansion.name)),
        store_(store) {
    if (const nlohmann::json there = read(path_); there.is_object() && there.value("name", expansion.name) != expansion.name)
      throw UserError("{}: is the list of sweep '{}'; expected one of '{}', or none; choose another -o", path_,
                      there.value("name", ""), expansion.name);
    make_folders(folder);
    make_folders(fs::path(named_).parent_path().string());
    // Whoever runs points under this name shares the lock; alone, one may write another list.
    const std::string lock = fs::path(named_).replace_extension(".lock").string();
    for (int tries = 0; !lock_; ++tries) {
      if ((lock_ = FileLock::take(lock, FileLock::Kind::kExclusive))) break;
      if (keys_of(read(named_)) == keys_)
        lock_ = FileLock::take(lock, FileLock::Kind::kShared);
      else if (tries > 3)  // who has just begun may not have written it yet
        throw UserError(
            "sweep '{}': another process runs other points under this name; expected the same ones; give this one a `name:` of "
            "its own, or wait",
            expansion.name);
      if (!lock_) std::this_thread::sleep_for(kLookAgain);
    }
    write();
    lock_->share();
  }
  const std::string& path() const { return path_; }
  void write() const {
    for (const std::string& path : {path_, named_})
      write_file_atomically(path, text(fs::absolute(path).parent_path()));
  }

 private:
  static nlohmann::json read(const std::string& path) {
    if (!fs::exists(path)) return nullptr;
    return nlohmann::json::parse(read_file(path, kMaxManifestBytes), nullptr, false);
  }
  static std::vector<std::string> keys_of(const nlohmann::json& j) {
    std::vector<std::string> keys;
    if (j.is_object() && j.contains("points"))
      for (const auto& point : j["points"])
        if (point.is_object()) keys.push_back(point.value("key", ""));
    return keys;
  }
  std::string text(const fs::path& folder) const {
    nlohmann::json j = {{"name", expansion_.name}, {"points", nlohmann::json::array()}};
    for (size_t i = 0; i < keys_.size(); ++i) {
      const std::string file = store_.exists(keys_[i]) ? store_.path_of(keys_[i]) : store_.failed_path_of(keys_[i]);
      j["points"].push_back({{"label", expansion_.points[i].label},
                             {"key", keys_[i]},
                             {"run_file", fs::relative(fs::absolute(file), folder).string()}});
    }
    return j.dump(2) + "\n";
  }

  const Expansion& expansion_;
  std::vector<std::string> keys_;
  std::string path_, named_;
  const Store& store_;
  std::optional<FileLock> lock_;
};

class Sweep {
 public:
  Sweep(const Expansion& expansion, Runner& runner, const SweepOptions& options)
      : expansion_(expansion),
        runner_(runner),
        store_(runner.store()),
        options_(options),
        keys_(keys_of(expansion, runner)),
        failed_at_(keys_.size()),
        records_(keys_.size()),
        manifest_(expansion, keys_, options.folder, store_) {
    for (size_t i = 0; i < keys_.size(); ++i)
      failed_at_[i] = failure_time(i);
  }

  SweepOutcome run() {
    std::vector<size_t> left;
    for (size_t i = 0; i < keys_.size() && !ended_; ++i)
      visit(i, left);
    while (!left.empty() && options_.wait && !ended_)
      left = wait_for(left);
    out_.elsewhere = static_cast<int>(left.size());
    out_.manifest = manifest_.path();
    for (std::optional<RunRecord>& r : records_)
      if (r) out_.records.push_back(std::move(*r));
    return std::move(out_);
  }

 private:
  static std::vector<std::string> keys_of(const Expansion& expansion, Runner& runner) {
    std::vector<std::string> keys;
    for (const Point& p : expansion.points)
      keys.push_back(runner.key_of(p.experiment));
    return keys;
  }
  std::string head(size_t i) const { return fmt::format("[{}/{}] {}", i + 1, keys_.size(), expansion_.points[i].label); }
  fs::file_time_type failure_time(size_t i) const {
    std::error_code none;
    return fs::last_write_time(store_.failed_path_of(keys_[i]), none);
  }

  void failed(size_t i, const std::string& file) {
    records_[i] = read_run_file(file, RunParts::kSummary);
    ++out_.failed;
  }

  // Adds the point to `left` if another process works on it.
  void visit(size_t i, std::vector<size_t>& left) {
    stop_here("sweep", fmt::format("{} of {} points are stored", out_.complete + out_.reused, keys_.size()));
    const Point& point = expansion_.points[i];
    // A failure that came while this sweep ran is another process's, and as good as one of our own.
    if (store_.failed(keys_[i]) && (!options_.retry_failed || failure_time(i) != failed_at_[i])) {
      failed(i, store_.failed_path_of(keys_[i]));
      log_info("{}: failed before ({}); --retry-failed tries it again", head(i), records_[i]->failure.message);
      return;
    }
    try {
      if (!store_.exists(keys_[i])) log_info("{}: started", head(i));
      RunResult r = runner_.run(point.experiment);
      r.record.label = point.label;
      ++(r.reused ? out_.reused : out_.complete);
      const std::string share = matrices_quantized(r.record);
      log_info("{}: {}perplexity {:.4g}, {:.3f} paper bits, {:.3f} stored bits, {}quantized in {:.1f} s, evaluated in {:.1f} s", head(i),
               !r.reused                                ? ""
               : of_another_build(r.record.provenance) ? "stored already, by another build: "
                                                       : "stored already: ",
               perplexity_of(r.record), r.record.storage.paper_bits, r.record.storage.stored_bits,
               share.empty() ? "" : fmt::format("{} matrices ", share), seconds_of(r.record, "quantize"), seconds_of(r.record, "evaluate"));
      records_[i] = std::move(r.record);
    } catch (const RunBusy&) {
      log_info("{}: {} works on it; left for later", head(i), store_.holder(keys_[i]));
      left.push_back(i);
      return;
    } catch (const Error& e) {
      // What is misspelt is so for every point, and a disk that is full, too; failures of a run or of its model are the point's own.
      if (e.code() == ExitCode::kUsage || e.code() == ExitCode::kStoppedEarly || dynamic_cast<const WriteError*>(&e) != nullptr) throw;
      log_warning("{}: failed: {}", head(i), e.what());
      failed(i, runner_.record_failure(point.experiment, keys_[i], e));
      ended_ = options_.fail_fast;
    }
    manifest_.write();
  }

  // Sleeps while all of these are in other hands; then visits those that are not. Returns the others.
  std::vector<size_t> wait_for(const std::vector<size_t>& points) {
    std::string said;
    for (;;) {
      std::vector<size_t> busy, ready;
      std::string holders;
      for (const size_t i : points) {
        const std::string holder = store_.exists(keys_[i]) ? "" : store_.holder(keys_[i]);
        (holder.empty() ? ready : busy).push_back(i);
        if (!holder.empty())
          holders += fmt::format("{}{} ({})", holders.empty() ? "" : ", ", expansion_.points[i].label, holder);
      }
      for (const size_t i : ready)
        if (!ended_) visit(i, busy);
      if (!ready.empty()) return busy;
      if (holders != said) log_info("waiting for points other processes work on: {}", holders);
      said = holders;
      stop_here("sweep", fmt::format("{} of {} points are stored, {} in other hands", out_.complete + out_.reused, keys_.size(),
                                     points.size()));
      std::this_thread::sleep_for(kLookAgain);
    }
  }

  const Expansion& expansion_;
  Runner& runner_;
  const Store& store_;
  const SweepOptions& options_;
  const std::vector<std::string> keys_;
  std::vector<fs::file_time_type> failed_at_;
  std::vector<std::optional<RunRecord>> records_;
  Manifest manifest_;
  SweepOutcome out_;
  bool ended_ = false;
};

}  // namespace

SweepOutcome run_sweep(const Expansion& expansion, Runner& runner, const SweepOptions& options) {
  return Sweep(expansion, runner, options).run();
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
