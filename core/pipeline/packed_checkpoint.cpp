#include "core/pipeline/packed_checkpoint.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/model/model_identity.h"
#include "core/pipeline/engine_version.h"
#include "core/pipeline/model_folder.h"
#include "core/pipeline/packed_config.h"
#include "core/pipeline/plane_store.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "core/util/log_once.h"

namespace sage {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;

json read_json(const std::string& path) {
  const json j = json::parse(read_file(path, kMaxJsonBytes), nullptr, false);
  if (j.is_discarded() || !j.is_object()) throw ResourceError("{}: is not a JSON object; expected one; the packed directory is damaged", path);
  return j;
}

const json& quantization_config(const json& config, const std::string& path) {
  const auto it = config.find("quantization_config");
  if (it == config.end() || !it->is_object() || it->value("quant_method", "") != kQuantMethod)
    throw ResourceError("{}: no quantization_config of method '{}'; expected a packed directory; use its path, or run `sageptq run` to make one", path, kQuantMethod);
  const json format = it->value("format", json());
  if (format != kPackedFormat)
    throw ResourceError("{}: packed format {}; expected {}; it was written by another version of sageptq", path, format.dump(), kPackedFormat);
  return *it;
}

std::string stem_of(const std::string& tensor) {
  constexpr std::string_view kSuffix = ".weight";
  return tensor.size() > kSuffix.size() && tensor.ends_with(kSuffix) ? tensor.substr(0, tensor.size() - kSuffix.size()) : tensor;
}

double total(const std::vector<MatrixReport>& matrices, double (*value)(const MatrixReport&)) {
  double sum = 0;
  for (const MatrixReport& m : matrices)
    sum += value(m) * static_cast<double>(m.storage.weights);
  return sum;
}
double per_weight(double sum, int64_t weights) { return weights > 0 ? sum / static_cast<double>(weights) : 0; }

}  // namespace

int64_t PackedReport::quantized_weights() const {
  int64_t n = 0;
  for (const MatrixReport& m : matrices) n += m.storage.weights;
  return n;
}
std::map<Role, uint64_t> PackedReport::roles() const {
  std::map<Role, uint64_t> out;
  for (const MatrixReport& m : matrices)
    for (const auto& [role, bytes] : m.storage.bytes) out[role] += bytes;
  return out;
}
double PackedReport::stored_bits() const {
  uint64_t bytes = left_out_bytes;
  for (const MatrixReport& m : matrices)
    bytes += m.storage.total_bytes();
  return per_weight(8.0 * static_cast<double>(bytes), linear_weights());
}
double PackedReport::paper_weight_bits() const {
  return per_weight(total(matrices, [](const MatrixReport& m) { return m.storage.paper_weight_bits; }) +
                        8.0 * static_cast<double>(left_out_bytes),
                    linear_weights());
}
double PackedReport::paper_scaling_bits() const {
  return per_weight(total(matrices, [](const MatrixReport& m) { return m.storage.paper_scaling_bits; }), linear_weights());
}
double PackedReport::relative_error() const {
  return per_weight(total(matrices, [](const MatrixReport& m) { return m.relative_error; }), quantized_weights());
}
double PackedReport::whole_model_bits() const {
  return per_weight(8.0 * static_cast<double>(file_bytes), quantized_weights() + unquantized_weights);
}

bool is_packed(const std::string& folder) {
  const std::string path = folder + "/config.json";
  if (!fs::exists(path)) return false;
  const json j = json::parse(read_file(path, kMaxJsonBytes), nullptr, false);
  return j.is_object() && j.contains("quantization_config") && j["quantization_config"].is_object() &&
         j["quantization_config"].value("quant_method", "") == kQuantMethod;
}

PackedSource::PackedSource(const std::string& folder, const Registries& registries, const Backend& backend)
    : folder_(folder), config_(read_model_config(folder)), files_(folder), backend_(backend) {
  keep_own_head(files_, config_);
  for (const std::string& note : config_.notes) log_warning_once(note);
  const std::string path = folder + "/config.json";
  const json config = read_json(path);
  const json& q = quantization_config(config, path);
  const auto recipe = q.find("pipeline");
  if (recipe == q.end() || !recipe->is_object())
    throw ResourceError("{}: quantization_config has no 'pipeline'; expected the recipe its planes were written with; the directory is damaged", path);
  try {
    factory_ = std::make_unique<PipelineFactory>(parse_yaml(recipe->dump(), path + " (quantization_config.pipeline)"), registries);
  } catch (const UserError& e) {
    throw ResourceError("{}: the recipe cannot be used ({}); expected one this version of sageptq knows; write the directory again", path, e.what());
  }
  std::map<std::string, LinearSite> by_stem;
  for (const LinearSite& site : linear_sites(find_family(config_), config_)) by_stem[stem_of(site.name)] = site;
  for (const auto& [name, place] : files_.places()) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos) continue;
    const auto site = by_stem.find(name.substr(0, dot));
    const std::string plane = name.substr(dot + 1);
    if (site == by_stem.end() || plane == "weight" || plane == "bias") continue;
    planes_[site->second.name].push_back(place.tensor);
    sites_[site->second.name] = site->second;
  }
  for (const auto& [stem, site] : by_stem)
    if (sites_.count(site.name) == 0 && !files_.has(site.name))
      throw ResourceError("{}: neither planes nor weights for {}; expected one of them; the packed file is incomplete", folder, site.name);
  source_dtypes_ = read_source_dtypes(q, path);
}

std::string PackedSource::digest() const {
  return digest_.get([&] {
    std::string recipe = fmt::format("packed {}\nengine {}\npipeline {}\n", kPackedFormat, kEngineVersion, canonical_json(factory_->config()));
    for (const std::string& c : factory_->component_versions()) recipe += c + "\n";
    return model_digest(config_, digest_of(files_), folder_, recipe);
  });
}

std::vector<std::string> PackedSource::names() const {
  std::set<std::string> out;
  for (const auto& [name, site] : sites_) out.insert(name);
  std::set<const TensorInfo*> planes;
  for (const auto& [name, list] : planes_) planes.insert(list.begin(), list.end());
  for (const auto& [name, place] : files_.places())
    if (planes.count(place.tensor) == 0) out.insert(name);
  return {out.begin(), out.end()};
}

bool PackedSource::has(const std::string& name) const { return sites_.count(name) > 0 || files_.has(name); }

std::vector<int64_t> PackedSource::shape(const std::string& name) const {
  if (const auto it = sites_.find(name); it != sites_.end()) return {it->second.rows, it->second.cols};
  return files_.at(name).tensor->shape;
}

DType PackedSource::source_dtype(const std::string& name) const {
  if (const auto it = source_dtypes_.find(name); it != source_dtypes_.end()) return it->second;
  if (const auto it = source_dtypes_.find(""); it != source_dtypes_.end()) return it->second;
  std::map<DType, int64_t> weights;
  for (const std::string& n : names())
    if (sites_.count(n) == 0) weights[files_.at(n).tensor->dtype] += files_.at(n).tensor->elements();
  DType most = DType::kF16;
  int64_t count = 0;
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32})
    if (weights[dtype] > count) most = dtype, count = weights[dtype];
  return most;
}

QuantizedMatrix PackedSource::planes(const std::string& name) const {
  const auto it = sites_.find(name);
  if (it == sites_.end()) throw ResourceError("{}: no quantized matrix {}; expected one of its linear layers; see `sageptq inspect`", folder_, name);
  QuantizedMatrix q{it->second.rows, it->second.cols, {}};
  for (const TensorInfo* t : planes_.at(name)) {
    const std::span<const std::byte> bytes = files_.at(t->name).file->bytes(*t);
    q.planes.push_back({t->name.substr(t->name.rfind('.') + 1), Role::kCode, dtype_name(t->dtype), {bytes.begin(), bytes.end()}});
  }
  // Roles are the header's to say.
  const PlaneHeader header = read_plane_header(q, name);
  for (StoredPlane& p : q.planes) {
    if (p.name == kHeaderPlane) p.role = Role::kHeader;
    else if (p.name == kSalientIndexPlane) p.role = Role::kSalientIndex;
    else if (const auto e = header.planes.find(p.name); e != header.planes.end()) p.role = e->second.role;
    else throw ResourceError("{}: plane '{}' of {} is not in its header; expected only planes the header lists; the packed file is damaged", folder_, p.name, name);
  }
  return q;
}

Matrix PackedSource::load_linear(const std::string& name) const {
  if (sites_.count(name) > 0) return decode_matrix(*factory_, planes(name), name, backend_);
  const TensorFiles::Place at = files_.at(name);
  return at.file->load_matrix(at.tensor->name);
}
std::vector<float> PackedSource::load_vector(const std::string& name) const {
  const TensorFiles::Place at = files_.at(name);
  return at.file->load_vector(at.tensor->name);
}
Matrix PackedSource::load_rows(const std::string& name, std::span<const int32_t> rows) const { return load_tensor_rows(files_, name, rows); }
void PackedSource::release(const std::string& name) const {
  if (const auto it = planes_.find(name); it != planes_.end()) {
    for (const TensorInfo* t : it->second) files_.at(t->name).file->release(*t);
  } else if (files_.has(name)) {
    files_.at(name).file->release(*files_.at(name).tensor);
  }
}

PackedReport PackedSource::report() const {
  PackedReport out;
  json measured = json::object();
  const std::string path = folder_ + "/" + kReportFile;
  if (fs::exists(path)) {
    const json kept = read_json(path);
    measured = kept.value("matrices", json::object());
    out.seconds = read_seconds(kept);
  }
  uint64_t plane_bytes = 0;
  for (const auto& [name, site] : sites_) {
    MatrixReport m;
    m.name = name;
    m.layer = site.layer;
    m.rows = site.rows;
    m.cols = site.cols;
    m.storage.weights = site.rows * site.cols;
    m.storage.bytes = storage_by_role(planes(name));
    plane_bytes += m.storage.total_bytes();
    m.relative_error = std::numeric_limits<double>::quiet_NaN();
    if (const auto it = measured.find(name); it != measured.end()) read_matrix_report(*it, m);
    out.matrices.push_back(std::move(m));
  }
  std::sort(out.matrices.begin(), out.matrices.end(),
            [](const MatrixReport& a, const MatrixReport& b) { return std::pair(a.layer, a.name) < std::pair(b.layer, b.name); });
  for (const auto& file : files_.files()) {
    out.file_bytes += file->file_bytes();
    out.metadata_bytes += file->header_bytes();
  }
  std::set<const TensorInfo*> planes;
  for (const auto& [name, list] : planes_) planes.insert(list.begin(), list.end());
  for (const auto& [name, place] : files_.places())
    if (planes.count(place.tensor) == 0) {
      out.unquantized_bytes += place.tensor->bytes();
      out.unquantized_weights += place.tensor->elements();
    }
  for (const LinearSite& site : linear_sites(find_family(config_), config_)) {
    if (sites_.count(site.name) > 0) continue;
    const TensorInfo& tensor = *files_.at(site.name).tensor;
    ++out.left_out_matrices;
    out.left_out_bytes += tensor.bytes();
    out.left_out_weights += tensor.elements();
  }
  if (plane_bytes + out.unquantized_bytes + out.metadata_bytes != out.file_bytes)
    throw ResourceError("{}: roles, unquantized tensors and metadata add up to {} bytes, the file has {}; expected equality; the packed file is damaged",
                        folder_, plane_bytes + out.unquantized_bytes + out.metadata_bytes, out.file_bytes);
  return out;
}

std::unique_ptr<WeightSource> open_model(const std::string& folder, const Registries& registries, const Backend& backend) {
  if (is_packed(folder)) return std::make_unique<PackedSource>(folder, registries, backend);
  return open_checkpoint(folder);
}

}  // namespace sage
