#include "experiments/engine/runner.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/model/forward.h"
#include "core/model/hub_folder.h"
#include "core/model/tokenizer.h"
#include "core/pipeline/engine_version.h"
#include "core/pipeline/pipeline_config.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "experiments/engine/provenance.h"
#include "kernels/backends.h"

namespace sage {
namespace fs = std::filesystem;
namespace {

constexpr const char* kDefaultModel = "SmolLM2-135M-Instruct";

// One stage after another, each with its own peak of resident memory and of the device's.
class StageClock {
 public:
  StageClock(const Backend& backend, std::vector<StageRow>& rows) : backend_(backend), rows_(rows) {}
  template <class F>
  auto run(const std::string& stage, F work) {
    std::ofstream("/proc/self/clear_refs") << "5";  // restarts the kernel's high-water mark; without it the peak is the process's
    backend_.restart_peak();
    const double started = now_seconds();
    const struct Record {
      StageClock& clock;
      const std::string& stage;
      double started;
      ~Record() {
        clock.rows_.push_back(
            {stage, now_seconds() - started, memory_use().peak_resident, clock.backend_.device_memory().peak});
      }
    } record{*this, stage, started};
    return work();
  }

 private:
  const Backend& backend_;
  std::vector<StageRow>& rows_;
};

void fill_storage(const PackedReport& packed, RunRecord& record) {
  StorageSummary& s = record.storage;
  s.linear_weights = static_cast<uint64_t>(packed.linear_weights());
  s.stored_bits = packed.stored_bits();
  s.paper_weight_bits = packed.paper_weight_bits();
  s.paper_scaling_bits = packed.paper_scaling_bits();
  s.paper_bits = packed.paper_bits();
  s.whole_model_bits = packed.whole_model_bits();
  s.file_bytes = packed.file_bytes;
  s.metadata_bytes = packed.metadata_bytes;
  s.unquantized_bytes = packed.unquantized_bytes;
  for (const auto& [role, bytes] : packed.roles()) record.storage_by_role.push_back({role_name(role), bytes});
  for (const MatrixReport& m : packed.matrices) {
    MatrixRow row;
    row.layer = m.layer;
    row.name = m.name;
    row.rows = m.rows;
    row.cols = m.cols;
    row.groups = m.groups;
    row.salient_ratio = m.salient_ratio;
    row.paper_bits = m.storage.paper_bits();
    row.stored_bits = m.storage.stored_bits();
    row.d = m.relative_error;
    row.excess_stored = rate_excess(row.stored_bits, row.d);
    row.excess_paper = rate_excess(row.paper_bits, row.d);
    row.seconds = m.seconds;
    row.choice = fmt::format("alternative {}", m.alternative);
    record.matrices.push_back(std::move(row));
  }
}

// A checkpoint in full precision has a size, too: the line others are compared with.
void fill_full_precision(const CheckpointSource& model, RunRecord& record) {
  record.full_precision = true;
  StorageSummary& s = record.storage;
  uint64_t linear_bytes = 0;
  int64_t weights = 0, all = 0;
  std::map<std::string, bool> linear;
  for (const LinearSite& site : linear_sites(find_family(model.config()), model.config())) linear[site.name] = true;
  for (const auto& [name, place] : model.tensor_files().places()) {
    all += place.tensor->elements();
    if (linear.count(name) > 0) {
      linear_bytes += place.tensor->bytes();
      weights += place.tensor->elements();
    } else {
      s.unquantized_bytes += place.tensor->bytes();
    }
  }
  for (const auto& file : model.tensor_files().files()) {
    s.file_bytes += file->file_bytes();
    s.metadata_bytes += file->header_bytes();
  }
  s.linear_weights = static_cast<uint64_t>(weights);
  s.stored_bits = 8.0 * static_cast<double>(linear_bytes) / static_cast<double>(weights);
  s.paper_weight_bits = s.paper_bits = s.stored_bits;
  s.paper_scaling_bits = 0;
  s.whole_model_bits = 8.0 * static_cast<double>(s.file_bytes) / static_cast<double>(all);
}

}  // namespace

std::string resolve_model_path(const std::string& path) {
  if (path != "default") {
    return model_files_folder(path);
  }
  const std::string folder = cache_folder() + "/models/" + kDefaultModel;
  if (!fs::exists(folder + "/config.json"))
    throw ResourceError("{}: the default model is not there; expected it after set-up; run `make fetch`, or name another model with --model DIR", folder);
  return folder;
}

Runner::Runner(const Registries& registries, RunnerOptions options)
    : registries_(registries), options_(std::move(options)), store_(options_.store), backend_(make_backend(options_.backend)),
      evaluator_(std::make_unique<Evaluator>(*backend_)) {}
Runner::~Runner() = default;

const CheckpointSource& Runner::model(const std::string& path) {
  const std::string folder = resolve_model_path(path);
  std::unique_ptr<CheckpointSource>& m = models_[folder];
  if (!m) m = std::make_unique<CheckpointSource>(folder);
  return *m;
}

std::string Runner::key_of(const Experiment& e) {
  const CheckpointSource& source = model(e.model_path);
  if (e.calibrates || !e.eval.empty()) check_forward(find_family(source.config()), source.config(), *backend_);
  std::string text = fmt::format("schema {}\nexperiment {}\nmodel {}\nbackend {}\n", kRunSchemaVersion, canonical_json(identity(e)), source.digest(), backend_->name());
  if (!is_full_precision(e.pipeline)) {
    text += fmt::format("engine {}\n", kEngineVersion);
    for (const std::string& c : PipelineFactory(e.pipeline, registries_).component_versions()) text += c + "\n";
  }
  if (e.calibrates) {
    const Text& calibration = calibration_text(e);
    text += fmt::format("calibration text {} tokenizer {}\n", calibration.digest, Tokenizer::from_folder(source.folder()).digest());
    // Before hours of work, not in their middle.
    check_sequence_length(find_family(source.config()), source.config(), e.calibration.length_tokens);
  }
  for (const EvalSpec& spec : e.eval) text += evaluator_->identity_of(spec, source) + "\n";
  if (const std::string note = note_on_seen_text(e); !note.empty()) log_warning_once(e.source + ": " + note);
  return sha256_hex(text);
}

const Text& Runner::calibration_text(const Experiment& e) {
  const auto it = texts_.find(e.calibration.dataset);
  return it != texts_.end() ? it->second : texts_.emplace(e.calibration.dataset, load_text(e.calibration.dataset)).first->second;
}

std::unique_ptr<CalibrationJob> Runner::calibration_of(const Experiment& e) {
  if (!e.calibrates) return nullptr;
  const Text& text = calibration_text(e);
  const Tokenizer tokenizer = Tokenizer::from_folder(model(e.model_path).folder());
  auto job = std::make_unique<CalibrationJob>(CalibrationJob{draw_samples(tokenizer, text, sample_options(e.calibration, text)), e.calibration});
  log_info("calibration: {} samples of {} tokens from {} (sha256 {})", e.calibration.samples, e.calibration.length_tokens, text.name, text.digest.substr(0, 12));
  return job;
}

int64_t Runner::evaluation_tokens(const Experiment& e) {
  int64_t tokens = 0;
  for (const EvalSpec& spec : e.eval) tokens += evaluator_->tokens_of(spec, model(e.model_path));
  return tokens;
}

RunRecord Runner::start_record(const Experiment& e, const std::string& key) {
  const CheckpointSource& source = model(e.model_path);
  RunRecord r;
  r.run_key = key;
  r.label = e.label.empty() ? e.name : e.label;
  r.started = iso_time_now();
  r.config_source = e.source;
  r.config_resolved = canonical_json(e.resolved);
  flatten_config(e.resolved, r.config);
  r.provenance = describe_process(options_.argv, *backend_);
  r.provenance.model_path = fs::absolute(source.folder()).lexically_normal().string();
  r.provenance.model_name = model_folder_name(r.provenance.model_path);
  r.provenance.model_digest = source.digest();
  if (const std::string note = source.folder() + "/sage_source.json"; fs::exists(note)) {
    const nlohmann::json j = nlohmann::json::parse(read_file(note, 1 << 20), nullptr, false);
    if (j.is_object()) {
      r.provenance.model_note = j.value("note", "");
      r.provenance.model_name = j.value("name", r.provenance.model_name);
    }
  }
  for (const EvalSpec& spec : e.eval) evaluator_->describe(spec, source, r.provenance);
  if (e.calibrates) add_note(calibration_text(e).note, r.provenance);
  add_note(note_on_seen_text(e), r.provenance);
  return r;
}

std::string Runner::note_on_seen_text(const Experiment& e) {
  if (!e.calibrates) return "";
  const Text& calibration = calibration_text(e);
  for (const EvalSpec& spec : e.eval)
    if (evaluator_->text_digest_of(spec, model(e.model_path)) == calibration.digest)
      return fmt::format("Calibrated on the text that is evaluated ({}), so that its numbers flatter the method", calibration.name);
  return "";
}

PackedReport Runner::quantize_only(const Experiment& e, const std::string& packed) {
  if (is_full_precision(e.pipeline)) throw UserError("{}: leaves the model in full precision; expected a method that quantizes; see `sageptq list presets`", e.source);
  const CheckpointSource& source = model(e.model_path);
  const PipelineFactory factory(e.pipeline, registries_);
  if (e.calibrates) check_forward(find_family(source.config()), source.config(), *backend_);
  const std::unique_ptr<CalibrationJob> calibration = calibration_of(e);
  return quantize_model({source, factory, registries_, *backend_, static_cast<uint64_t>(e.seed), packed, "", e.trace,
                         [&e](const std::string& name) { return e.selects(name); }, {}, calibration.get()});
}

RunResult Runner::run(const Experiment& e, const std::string& packed) {
  RunResult result;
  result.key = key_of(e);
  if (store_.exists(result.key) && (packed.empty() || fs::exists(packed) || is_full_precision(e.pipeline))) {
    result.file = store_.path_of(result.key);
    result.record = read_run_file(result.file, RunParts::kSummary);
    result.reused = true;
    return result;
  }
  const CheckpointSource& source = model(e.model_path);
  RunRecord record = start_record(e, result.key);
  std::optional<Claim> claim = store_.claim(result.key);
  if (!claim && !store_.exists(result.key))
    throw ResourceError("run {}: another process is working on it; expected it to be free; wait for that process, then run the same command again", result.key.substr(0, 12));

  StageClock clock(*backend_, record.timing);
  // What former runs of this process did has been kept with them.
  backend_->record_timeline(e.trace);
  const bool quantizes = !is_full_precision(e.pipeline);
  std::string folder = packed;
  if (quantizes) {
    if (folder.empty()) folder = e.keep_packed ? store_.root() + "/packed/" + result.key : (claim ? claim->folder() : store_.pending_folder(result.key)) + "/packed";
    if (const std::string parent = fs::path(folder).parent_path().string(); !parent.empty()) make_folders(parent);
    const PipelineFactory factory(e.pipeline, registries_);
    record.numerics = factory.numerics() == Numerics::kPacked ? "packed" : "reference";
    const std::unique_ptr<CalibrationJob> calibration = calibration_of(e);
    double calibration_seconds = 0;
    const PackedReport report = clock.run("quantize", [&] {
      return quantize_model({source, factory, registries_, *backend_, static_cast<uint64_t>(e.seed), folder, result.key, e.trace,
                             [&e](const std::string& name) { return e.selects(name); },
                             [&](const MatrixReport& m, const Trace& trace) {
                               for (const auto& [name, a] : trace.arrays())
                                 record.trace.push_back({m.name, name, {a.shape.begin(), a.shape.end()}, a.values});
                             },
                             calibration.get(), &calibration_seconds});
    });
    if (calibration) {
      // The stage holds both; its row is split so that each says its own.
      StageRow& quantize = record.timing.back();
      quantize.seconds -= calibration_seconds;
      record.timing.insert(record.timing.end() - 1,
                           {"calibrate", calibration_seconds, quantize.peak_bytes, quantize.device_peak_bytes});
    }
    fill_storage(report, record);
  } else {
    fill_full_precision(source, record);
  }
  for (const EvalSpec& spec : e.eval) {
    // The weights scored are those of the file just written, read back.
    std::unique_ptr<WeightSource> weights;
    if (quantizes) weights = std::make_unique<PackedSource>(folder, registries_, *backend_);
    clock.run("evaluate " + spec.protocol, [&] { evaluator_->evaluate(spec, weights ? *weights : static_cast<const WeightSource&>(source), source, record); });
  }
  for (const TimelineEntry& t : backend_->timeline())
    record.timeline.push_back({t.stream, t.what, t.start_s, t.end_s});
  record.finished = iso_time_now();
  result.file = store_.put(record);
  result.record = std::move(record);
  if (claim) claim->finish();
  return result;
}

std::string Runner::record_failure(const Experiment& e, const std::string& key, const Error& error) {
  RunRecord record = start_record(e, key);
  record.status = "failed";
  record.finished = iso_time_now();
  record.failure = {static_cast<int64_t>(error.code()), error.what()};
  return store_.put(record);
}

}  // namespace sage
