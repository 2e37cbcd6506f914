#include "core/pipeline/quantize_model.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/pipeline/engine_version.h"
#include "core/pipeline/model_folder.h"
#include "core/pipeline/packed_config.h"
#include "core/util/errors.h"
#include "core/util/file_lock.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "core/util/output_path.h"
#include "core/util/stop.h"

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

// What a stop left of a layer. A name of its own: a layer under its final name is whole.
std::string partial_path(const std::string& work, int layer) {
  return fmt::format("{}/layer_{:04d}.partial.safetensors", work, layer);
}

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

json report_of(const SafetensorsFile& layer) { return json::parse(layer.metadata().at(kReportKey)); }

// The planes of a matrix as a file of its block holds them.
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

// Writes the block's file. Returns what earlier processes, stopped inside this block, had spent on it.
QuantizeSeconds quantize_layer(const QuantizeModelJob& job, const std::vector<LinearSite>& sites, const std::string& work,
                               const std::string& fingerprint, CalibrationPass* pass, Progress& progress) {
  const std::string path = layer_path(work, sites[0].layer), partial = partial_path(work, sites[0].layer);
  const double layer_started = now_seconds(), calibrated_before = pass == nullptr ? 0 : pass->seconds();
  QuantizeSeconds earlier;
  SafetensorsWriter writer;
  std::vector<QuantizedMatrix> keep;
  keep.reserve(sites.size());
  BlockHessians hessians(job, pass, sites, [&](BlockWeights& block) {
    for (size_t k = 0; k < keep.size(); ++k) block.weight(sites[k].role) = decode_matrix(job.factory, keep[k], sites[k].name, job.backend);
  });
  json report = json::object();
  const auto keep_planes = [&](const LinearSite& site, QuantizedMatrix&& q) {
    keep.push_back(std::move(q));
    for (const StoredPlane& p : keep.back().planes) {
      DType dtype = DType::kU8;
      parse_dtype(p.dtype, &dtype);
      writer.add(plane_tensor(site.name, p.name), dtype, {static_cast<int64_t>(p.bytes.size() / dtype_bytes(dtype))}, p.bytes);
    }
  };
  const auto write = [&](const std::string& to) {
    QuantizeSeconds seconds = earlier;
    const double calibrated = pass == nullptr ? 0 : pass->seconds() - calibrated_before;
    seconds.calibrate += calibrated;
    seconds.quantize += now_seconds() - layer_started - calibrated;
    writer.set_metadata(kFingerprintKey, fingerprint);
    writer.set_metadata(kReportKey, json{{"matrices", report}, {"seconds", write_seconds(seconds)}}.dump());
    writer.write(to);
  };
  size_t resumed = 0;
  if (const std::unique_ptr<SafetensorsFile> left = finished_layer(partial, fingerprint)) {
    const json done = report_of(*left);
    earlier = read_seconds(done);
    earlier.resumed = true;
    for (; resumed < sites.size() && done.at("matrices").contains(sites[resumed].name); ++resumed) {
      const LinearSite& site = sites[resumed];
      keep_planes(site, planes_of(*left, site));
      report[site.name] = done.at("matrices")[site.name];
      progress.advance(static_cast<double>(site.rows * site.cols) * 1e-6, "resumed");
    }
  }
  const auto quantize = [&](const LinearSite& site) {
    stop_here("quantize", fmt::format("what was finished before {} is kept in {}", site.name, work));
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
    log_debug("{}: D {:.5f}{}, {:.2f} s", m.name, m.relative_error, m.outcome.gram_loss ? fmt::format(", Gram loss {:.5f}", *m.outcome.gram_loss) : "",
              m.seconds);
    keep_planes(site, std::move(r.packed));
    if (job.observe) job.observe(m, trace);
    progress.advance(static_cast<double>(w.size()) * 1e-6, site.name);
  };
  try {
    for (size_t i = resumed; i < sites.size(); ++i)
      quantize(sites[i]);
  } catch (const Stopped&) {
    if (keep.size() > resumed) write(partial);
    throw;
  }
  write(path);
  std::error_code none_left;
  fs::remove(partial, none_left);
  return earlier;
}

std::string packed_fingerprint(const std::string& folder) {
  const json j = json::parse(read_file(folder + "/config.json"), nullptr, false);
  if (!j.is_object() || !j.contains("quantization_config") || !j["quantization_config"].is_object()) return "";
  const auto fingerprint = j["quantization_config"].find("fingerprint");
  return fingerprint != j["quantization_config"].end() && fingerprint->is_string() ? fingerprint->get<std::string>() : "";
}

bool holds(const std::string& out, const std::string& fingerprint) {
  std::error_code ignored;
  if (fs::symlink_status(out, ignored).type() == fs::file_type::not_found) return false;
  if (!fs::exists(out + "/config.json") || packed_fingerprint(out) != fingerprint)
    throw UserError(
        "{}: exists and holds something else; expected a new folder, or one left by the same run; choose another -o or remove "
        "it",
        out);
  return true;
}

}  // namespace

bool holds_result(const QuantizeModelJob& job) { return holds(output_path(job.out), quantization_fingerprint(job)); }

std::string fingerprint_text(const QuantizeModelJob& job) {
  std::string text = fmt::format("fingerprint 2\nformat {}\nengine {}\nbackend {}\nmodel {}\nseed {}\npipeline {}\n", kPackedFormat, kEngineVersion, job.backend.name(),
                                 job.source.digest(), job.seed, canonical_json(job.factory.config()));
  for (const std::string& c : job.factory.component_versions()) text += c + "\n";
  if (job.factory.needs_calibration() && job.calibration != nullptr) text += calibration_key(*job.calibration) + "\n";
  if (job.selects)
    for (const LinearSite& site : linear_sites(find_family(job.source.config()), job.source.config()))
      if (!job.selects(site.name)) text += "without " + site.name + "\n";
  return text;
}

std::string quantization_fingerprint(const QuantizeModelJob& job) { return sha256_hex(fingerprint_text(job)); }

PackedReport quantize_model(const QuantizeModelJob& job) {
  const std::string out = output_path(job.out);
  const std::string fingerprint = quantization_fingerprint(job);
  const std::string unfinished = job.build.empty() ? fingerprint : fingerprint + " " + job.build;  // of layers in work
  const std::string work = out + ".work";
  const auto complete = [&] {
    log_info("{}: is complete already", out);
    std::error_code none_left;
    fs::remove_all(work, none_left);  // of a run killed behind its last step
    PackedReport report = PackedSource(out, job.registries, job.backend).report();
    report.seconds.resumed = true;
    return report;
  };
  if (holds(out, fingerprint)) return complete();
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

  // Before anything is quantized. Linear layers are looked at as they come, which is soon, except behind hours of calibration.
  std::set<std::string> quantized;
  for (const auto& [layer, sites] : layers)
    for (const LinearSite& s : sites) quantized.insert(s.name);
  check_finite_tensors(job.source.tensor_files(), family, job.source.config(),
                       [&](const std::string& name) { return !calibrates && quantized.count(name) > 0; });

  const double started = now_seconds();
  QuantizeSeconds earlier;  // of processes before this one
  const auto taken_over = [&earlier](const QuantizeSeconds& s) {
    earlier.quantize += s.quantize;
    earlier.calibrate += s.calibrate;
    earlier.resumed = earlier.resumed || s.resumed;
  };
  make_folders(work);
  const std::optional<FileLock> lock = FileLock::take(work + "/lock", FileLock::Kind::kExclusive);
  if (!lock)
    throw ResourceError("{}: another process is making it; expected it to be free; wait for that process, or choose another -o",
                        out);
  if (holds(out, fingerprint)) return complete();  // by the lock's last holder
  Progress progress("quantize", total, "million weights");
  std::vector<std::unique_ptr<SafetensorsFile>> parts;
  std::map<int, const SafetensorsFile*> finished;
  std::optional<CalibrationPass> pass;
  if (calibrates)
    pass.emplace(job.source, *job.calibration, job.backend, unfinished, [&](int layer, BlockWeights& block) {
      const auto sites = layers.find(layer);
      if (sites == layers.end()) return;
      for (const LinearSite& s : sites->second)
        block.weight(s.role) = decode_matrix(job.factory, planes_of(*finished.at(layer), s), s.name, job.backend);
    });
  for (const auto& [layer, sites] : layers) {
    const std::string path = layer_path(work, layer);
    std::unique_ptr<SafetensorsFile> part = finished_layer(path, unfinished);
    if (part) {
      for (const LinearSite& s : sites) progress.advance(static_cast<double>(s.rows * s.cols) * 1e-6, "resumed");
      taken_over(read_seconds(report_of(*part)));
      earlier.resumed = true;
    } else {
      taken_over(quantize_layer(job, sites, work, unfinished, pass ? &*pass : nullptr, progress));
      part = std::make_unique<SafetensorsFile>(path);
    }
    finished[layer] = part.get();
    parts.push_back(std::move(part));
  }
  progress.finish();

  FolderInProgress folder(out);
  SafetensorsWriter writer;
  json report = json::object();
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
  // Tensors nobody reads come along, but for those that would be taken for planes ("q_proj.g_idx").
  std::set<std::string> unread_beside_matrices;
  for (const LinearSite& s : linear_sites(family, job.source.config())) {
    const std::string stem = plane_tensor(s.name, "");
    const auto& places = job.source.tensor_files().places();
    for (auto it = places.lower_bound(stem); it != places.end() && it->first.starts_with(stem); ++it)
      if (it->first != s.name && it->first != stem + "bias" && it->first.find('.', stem.size()) == std::string::npos)
        unread_beside_matrices.insert(it->first);
  }
  for (const auto& [name, place] : job.source.tensor_files().places()) {
    if (quantized.count(name) > 0 || unread_beside_matrices.count(name) > 0) continue;
    const TensorFiles::Place at = place;
    writer.add(name, at.tensor->dtype, at.tensor->shape, [at](const ByteSink& sink) {
      sink(at.file->bytes(*at.tensor));
      at.file->release(*at.tensor);
    });
  }
  writer.write(folder.path() + "/model.safetensors");
  json quantization = {{"quant_method", kQuantMethod},
                       {"format", kPackedFormat},
                       {"fingerprint", fingerprint},
                       {"seed", job.seed},
                       {"source_digest", job.source.digest()},
                       {"components", job.factory.component_versions()},
                       {"pipeline", json::parse(canonical_json(job.factory.config()))}};
  std::map<std::string, DType> dtypes;
  for (const std::string& name : quantized) dtypes[name] = job.source.tensor_files().at(name).tensor->dtype;
  write_source_dtypes(dtypes, quantization);
  if (calibrates)
    quantization["calibration"] = {{"options", json::parse(canonical_json(calibration_identity(job.calibration->config)))},
                                   {"text", job.calibration->samples.text_name},
                                   {"text_digest", job.calibration->samples.text_digest},
                                   {"samples_digest", job.calibration->samples.digest}};
  if (!job.run_key.empty()) quantization["run_key"] = job.run_key;
  write_file_atomically(folder.path() + "/config.json", packed_config(job.source.config(), std::move(quantization)).dump(2) + "\n");
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
