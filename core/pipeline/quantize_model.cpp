#include "core/pipeline/quantize_model.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/pipeline/engine_version.h"
#include "core/pipeline/model_folder.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr const char* kFingerprintKey = "fingerprint";
constexpr const char* kReportKey = "layer_report";  // {matrices, seconds}, as in sage_report.json

std::string plane_tensor(const std::string& matrix, const std::string& plane) {
  constexpr size_t kSuffix = sizeof(".weight") - 1;
  return matrix.substr(0, matrix.size() - kSuffix) + "." + plane;
}

std::string layer_path(const std::string& work, int layer) { return fmt::format("{}/layer_{:04d}.safetensors", work, layer); }

// The finished part of a former, interrupted run, if it is of the same fingerprint and whole.
std::unique_ptr<SafetensorsFile> finished_layer(const std::string& path, const std::string& fingerprint) {
  if (!fs::exists(path)) return nullptr;
  try {
    auto file = std::make_unique<SafetensorsFile>(path);
    const auto it = file->metadata().find(kFingerprintKey);
    if (it != file->metadata().end() && it->second == fingerprint && file->metadata().count(kReportKey) > 0) return file;
    log_info("{}: is of another run, made again", path);
  } catch (const ResourceError& e) {
    log_warning("{}; made again", e.what());
  }
  return nullptr;
}

// The Grams of a block, by group of linears, each with its factors; nothing without calibration. Collected all at once for the
// first layer asked for, or, in sequential order, group by group as layers are asked for.
class BlockHessians {
 public:
  // `amend` puts the layers quantized so far in place.
  BlockHessians(const QuantizeModelJob& job, CalibrationPass* pass, const std::vector<LinearSite>& sites, CalibrationPass::Amend amend)
      : job_(job), pass_(pass), sites_(sites), amend_(std::move(amend)) {}

  const LayerHessian* of(const LinearSite& site) {
    if (pass_ == nullptr) return nullptr;
    const auto it = hessians_.find(site.group);
    if (it != hessians_.end()) return it->second.get();
    const bool sequential = job_.calibration->config.layer_order == LayerOrder::kSequential;
    if (sequential) {  // earlier groups are done with
      hessians_.clear();
      grams_.clear();
    }
    std::map<std::string, int64_t> columns;
    for (const LinearSite& s : sites_)
      if (!sequential || s.group == site.group) columns[s.group] = s.cols;
    grams_ = pass_->collect(site.layer, columns, sequential ? amend_ : CalibrationPass::Amend());
    for (const auto& [group, gram] : grams_)
      hessians_[group] =
          std::make_unique<LayerHessian>(gram.matrix.view(), factor_options(job_.calibration->config, job_.factory.numerics()), fmt::format("layer {} {}", site.layer, group));
    return hessians_.at(site.group).get();
  }

 private:
  const QuantizeModelJob& job_;
  CalibrationPass* pass_;
  const std::vector<LinearSite>& sites_;
  CalibrationPass::Amend amend_;
  std::map<std::string, Gram> grams_;
  std::map<std::string, std::unique_ptr<LayerHessian>> hessians_;
};

void quantize_layer(const QuantizeModelJob& job, const std::vector<LinearSite>& sites, const std::string& path, const std::string& fingerprint,
                    CalibrationPass* pass, Progress& progress) {
  const double layer_started = now_seconds(), calibrated_before = pass == nullptr ? 0 : pass->seconds();
  SafetensorsWriter writer;
  std::vector<QuantizedMatrix> keep;
  keep.reserve(sites.size());
  BlockHessians hessians(job, pass, sites, [&](BlockWeights& block) {
    for (size_t k = 0; k < keep.size(); ++k) block.weight(sites[k].role) = decode_matrix(job.factory, keep[k], sites[k].name, job.backend);
  });
  json report = json::object();
  for (const LinearSite& site : sites) {
    Trace trace(job.trace);
    const LayerHessian* hessian =
        hessians.of(site);  // may run the model, whose blocks are spans of their own, and whose time is too
    const double started = now_seconds();
    const Matrix w = job.source.load_linear(site.name);
    const auto span = job.backend.span(site.name);
    MatrixResult r = quantize_matrix(job.factory, {.weights = w.view(), .id = {site.layer, site.name}, .seed = job.seed, .hessian = hessian, .trace = &trace}, job.backend);
    job.source.release(site.name);
    MatrixReport m;
    m.name = site.name;
    m.layer = site.layer;
    m.rows = site.rows;
    m.cols = site.cols;
    m.storage = r.storage;
    m.relative_error = r.relative_error;
    m.salient_ratio = r.salient_ratio;
    m.groups = r.groups;
    m.alternative = r.alternative;
    m.outcome = r.outcome;
    m.seconds = now_seconds() - started;
    report[site.name] = write_matrix_report(m);
    log_debug("{}: D {:.5f}{}, {:.2f} s", m.name, m.relative_error,
              m.outcome.gram_loss ? fmt::format(", Gram loss {:.5f}", *m.outcome.gram_loss) : "", m.seconds);
    keep.push_back(std::move(r.packed));
    for (const StoredPlane& p : keep.back().planes) {
      DType dtype = DType::kU8;
      parse_dtype(p.dtype, &dtype);
      writer.add(plane_tensor(site.name, p.name), dtype, {static_cast<int64_t>(p.bytes.size() / dtype_bytes(dtype))}, p.bytes);
    }
    if (job.observe) job.observe(m, trace);
    progress.advance(static_cast<double>(w.size()) * 1e-6, site.name);
  }
  writer.set_metadata(kFingerprintKey, fingerprint);
  QuantizeSeconds seconds;
  seconds.calibrate = pass == nullptr ? 0 : pass->seconds() - calibrated_before;
  seconds.quantize = now_seconds() - layer_started - seconds.calibrate;
  writer.set_metadata(kReportKey, json{{"matrices", report}, {"seconds", write_seconds(seconds)}}.dump());
  writer.write(path);
}

json report_of(const SafetensorsFile& layer) { return json::parse(layer.metadata().at(kReportKey)); }

// The planes of a matrix as its block's finished file holds them.
QuantizedMatrix planes_of(const SafetensorsFile& file, const LinearSite& site) {
  QuantizedMatrix q;
  q.rows = site.rows;
  q.cols = site.cols;
  const std::string prefix = plane_tensor(site.name, "");
  for (const TensorInfo& t : file.tensors()) {
    if (!t.name.starts_with(prefix)) continue;
    StoredPlane p;
    p.name = t.name.substr(prefix.size());
    p.dtype = dtype_name(t.dtype);
    const std::span<const std::byte> bytes = file.bytes(t);
    p.bytes.assign(bytes.begin(), bytes.end());
    q.planes.push_back(std::move(p));
  }
  return q;
}

std::string packed_fingerprint(const std::string& folder) {
  const json j = json::parse(read_file(folder + "/config.json"), nullptr, false);
  if (!j.is_object() || !j.contains("quantization_config") || !j["quantization_config"].is_object()) return "";
  return j["quantization_config"].value("fingerprint", "");
}

}  // namespace

std::string quantization_fingerprint(const QuantizeModelJob& job) {
  std::string text = fmt::format("format {}\nengine {}\nmodel {}\nseed {}\npipeline {}\n", kPackedFormat, kEngineVersion, job.source.digest(), job.seed,
                                 canonical_json(job.factory.config()));
  for (const std::string& c : job.factory.component_versions()) text += c + "\n";
  if (job.factory.needs_calibration() && job.calibration != nullptr) text += calibration_key(*job.calibration) + "\n";
  if (job.selects)
    for (const LinearSite& site : linear_sites(find_family(job.source.config()), job.source.config()))
      if (!job.selects(site.name)) text += "without " + site.name + "\n";
  return sha256_hex(text);
}

PackedReport quantize_model(const QuantizeModelJob& job) {
  std::string out = job.out;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  const std::string fingerprint = quantization_fingerprint(job);
  if (fs::exists(out)) {
    if (fs::exists(out + "/config.json") && packed_fingerprint(out) == fingerprint) {
      log_info("{}: is complete already", out);
      std::error_code none_left;
      fs::remove_all(out + ".work", none_left);  // of a run killed behind its last step
      PackedReport complete = PackedSource(out, job.registries, job.backend).report();
      complete.seconds.resumed = true;
      return complete;
    }
    throw UserError("{}: exists and holds something else; expected a new folder, or one left by the same run; choose another -o or remove it", out);
  }
  const Family& family = find_family(job.source.config());
  check_tensors(family, job.source);
  const bool calibrates = job.factory.needs_calibration();
  if (calibrates && job.calibration == nullptr) throw Error(ExitCode::kInternalError, "quantize_model: a pipeline that calibrates was given no samples");
  if (calibrates) {
    check_forward(family, job.source.config(), job.backend);
    check_sequence_length(family, job.source.config(), job.calibration->samples.options.length);
  }
  std::map<int, std::vector<LinearSite>> layers;
  double total = 0;
  for (const LinearSite& site : linear_sites(family, job.source.config())) {
    if (job.selects && !job.selects(site.name)) continue;
    layers[site.layer].push_back(site);
    total += static_cast<double>(site.rows * site.cols) * 1e-6;
  }

  if (layers.empty()) throw UserError("quantize: include and exclude leave no matrix; expected at least one; see `sageptq check`");

  const double started = now_seconds();
  QuantizeSeconds earlier;  // of processes before this one
  const std::string work = out + ".work";
  make_folders(work);
  Progress progress("quantize", total, "million weights");
  std::vector<std::unique_ptr<SafetensorsFile>> parts;
  std::map<int, const SafetensorsFile*> finished;
  std::optional<CalibrationPass> pass;
  if (calibrates)
    pass.emplace(job.source, *job.calibration, job.backend, fingerprint, [&](int layer, BlockWeights& block) {
      const auto sites = layers.find(layer);
      if (sites == layers.end()) return;
      for (const LinearSite& s : sites->second)
        block.weight(s.role) = decode_matrix(job.factory, planes_of(*finished.at(layer), s), s.name, job.backend);
    });
  for (const auto& [layer, sites] : layers) {
    const std::string path = layer_path(work, layer);
    std::unique_ptr<SafetensorsFile> part = finished_layer(path, fingerprint);
    if (part) {
      for (const LinearSite& s : sites) progress.advance(static_cast<double>(s.rows * s.cols) * 1e-6, "resumed");
      const QuantizeSeconds kept = read_seconds(report_of(*part));
      earlier.quantize += kept.quantize;
      earlier.calibrate += kept.calibrate;
      earlier.resumed = true;
    } else {
      quantize_layer(job, sites, path, fingerprint, pass ? &*pass : nullptr, progress);
      part = std::make_unique<SafetensorsFile>(path);
    }
    finished[layer] = part.get();
    parts.push_back(std::move(part));
  }
  progress.finish();

  FolderInProgress folder(out);
  SafetensorsWriter writer;
  json report = json::object();
  std::set<std::string> quantized;
  for (const auto& [layer, sites] : layers)
    for (const LinearSite& s : sites) quantized.insert(s.name);
  for (const auto& part : parts) {
    for (const TensorInfo& t : part->tensors()) {
      const SafetensorsFile* file = part.get();
      const TensorInfo* tensor = &t;
      writer.add(t.name, t.dtype, t.shape, [file, tensor](const ByteSink& sink) {
        sink(file->bytes(*tensor));
        file->release(*tensor);
      });
    }
    report.update(report_of(*part).at("matrices"));
  }
  for (const auto& [name, place] : job.source.tensor_files().places()) {
    if (quantized.count(name) > 0) continue;
    const TensorFiles::Place at = place;
    writer.add(name, at.tensor->dtype, at.tensor->shape, [at](const ByteSink& sink) {
      sink(at.file->bytes(*at.tensor));
      at.file->release(*at.tensor);
    });
  }
  writer.write(folder.path() + "/model.safetensors");
  json config = json::parse(job.source.config().json);
  config["quantization_config"] = {{"quant_method", kQuantMethod},
                                   {"format", kPackedFormat},
                                   {"fingerprint", fingerprint},
                                   {"seed", job.seed},
                                   {"source_digest", job.source.digest()},
                                   {"components", job.factory.component_versions()},
                                   {"pipeline", json::parse(canonical_json(job.factory.config()))}};
  if (calibrates)
    config["quantization_config"]["calibration"] = {{"options", json::parse(canonical_json(calibration_identity(job.calibration->config)))},
                                                    {"text", job.calibration->samples.text_name},
                                                    {"text_digest", job.calibration->samples.text_digest},
                                                    {"samples_digest", job.calibration->samples.digest}};
  if (!job.run_key.empty()) config["quantization_config"]["run_key"] = job.run_key;
  write_file_atomically(folder.path() + "/config.json", config.dump(2) + "\n");
  QuantizeSeconds seconds = earlier;
  const double calibrated = pass ? pass->seconds() : 0;
  seconds.calibrate += calibrated;
  seconds.quantize += now_seconds() - started - calibrated;
  write_file_atomically(folder.path() + "/" + kReportFile,
                        json{{"matrices", report}, {"seconds", write_seconds(seconds)}}.dump(1) + "\n");
  copy_side_files(job.source.folder(), folder.path());
  folder.commit();
  parts.clear();
  std::error_code ignored;
  fs::remove_all(work, ignored);
  return PackedSource(out, job.registries, job.backend).report();
}

}  // namespace sage
