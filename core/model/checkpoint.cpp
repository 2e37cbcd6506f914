#include "core/model/checkpoint.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/config/value.h"
#include "core/model/family.h"
#include "core/model/json_text.h"
#include "core/model/model_identity.h"
#include "core/model/safetensors_header.h"
#include "core/util/errors.h"
#include "core/util/log.h"
#include "core/util/log_once.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr std::string_view kModelPrefix = "model.";
constexpr size_t kMaxIndexBytes = size_t{256} << 20;

// A shard is a plain file beside the index: a path from an untrusted index must not reach anything else.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos && name != "." && name != "..";
}

[[noreturn]] void no_weights(const std::string& folder) {
  std::string other;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".gguf" || extension == ".h5")
      other = entry.path().filename().string();
  }
  throw ResourceError("{}: neither {} nor {}; expected a Hugging Face directory with safetensors files; {}", folder,
                      kSingleFile, kIndexFile, other.empty() ? "check the path" : "convert " + other + " to safetensors first");
}

// Of blocks spread evenly over a file, all of a small one. Read again each time, not from a map that may be older.
std::string sampled_digest(const std::string& path, uint64_t size) {
  constexpr uint64_t kBlock = 4096;
  std::ifstream in(path, std::ios::binary);
  Sha256 sha;
  std::vector<char> block(kBlock);
  const uint64_t last = size > kBlock ? size - kBlock : 0, blocks = std::min<uint64_t>(kSampledBlocks, size / kBlock + 1);
  for (uint64_t k = 0; k < blocks; ++k) {
    const uint64_t at = blocks > 1 ? static_cast<uint64_t>(static_cast<double>(last) / static_cast<double>(blocks - 1) * static_cast<double>(k)) : 0;
    in.seekg(static_cast<std::streamoff>(k + 1 == blocks ? last : at));
    in.read(block.data(), static_cast<std::streamsize>(std::min(kBlock, size)));
    sha.update(block.data(), static_cast<size_t>(in.gcount()));
    in.clear();
  }
  return sha.hex();
}

// What the remembered digest depends on (header); "" where it should not be remembered.
std::string digest_key(const TensorFiles& files) {
  std::string names;
  for (const auto& [name, place] : files.places())
    names += fmt::format("{}:{} {}\n", name.size(), name, place.tensor->name);
  std::string key = fmt::format("digest-2\n{}\n", sha256_hex(names));
  struct timespec now {};
  clock_gettime(CLOCK_REALTIME, &now);
  for (const auto& f : files.files()) {
    struct stat s {};
    std::error_code error;
    const fs::path real = fs::canonical(f->path(), error);
    if (error || ::stat(real.c_str(), &s) != 0) return "";
    const double age = static_cast<double>(now.tv_sec - s.st_ctim.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - s.st_ctim.tv_nsec);
    if (age < kSettledSeconds) return "";
    key += fmt::format("{}\n{} {} {} {}.{:09} {}.{:09} {}\n", real.string(), s.st_dev, s.st_ino, s.st_size, s.st_mtim.tv_sec,
                       s.st_mtim.tv_nsec, s.st_ctim.tv_sec, s.st_ctim.tv_nsec, sampled_digest(real.string(), static_cast<uint64_t>(s.st_size)));
  }
  return key;
}

constexpr int64_t kPiece = int64_t{1} << 18;  // elements widened at a time

// Equal in shape and values, whatever their dtypes.
bool same_values(const TensorFiles::Place& a, const TensorFiles::Place& b) {
  if (a.tensor->shape != b.tensor->shape) return false;
  if (a.tensor->dtype == b.tensor->dtype) {
    const auto x = a.file->bytes(*a.tensor), y = b.file->bytes(*b.tensor);
    return std::memcmp(x.data(), y.data(), x.size()) == 0;
  }
  std::vector<float> x, y;
  for (int64_t at = 0; at < a.tensor->elements(); at += kPiece) {
    x.resize(static_cast<size_t>(std::min(kPiece, a.tensor->elements() - at)));
    y.resize(x.size());
    a.file->to_float(*a.tensor, at, x, Finite::kIgnore);
    b.file->to_float(*b.tensor, at, y, Finite::kIgnore);
    if (x != y) return false;
  }
  return true;
}

bool is_digest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

TensorFiles::TensorFiles(const std::string& folder) : folder_(folder) {
  const fs::path dir(folder);
  std::error_code error;
  if (!fs::is_directory(dir, error))
    throw ResourceError("{}: no such folder; expected a Hugging Face model directory; check the path", folder);
  if (fs::exists(dir / kSingleFile, error)) {
    files_.push_back(std::make_unique<SafetensorsFile>((dir / kSingleFile).string()));
    for (const TensorInfo& t : files_[0]->tensors())
      places_[t.name] = {files_[0].get(), &t};
    return;
  }
  const std::string index_path = (dir / kIndexFile).string();
  if (!fs::exists(index_path, error)) no_weights(folder);
  const nlohmann::json index = parse_json_object(read_file(index_path, kMaxIndexBytes), index_path);
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object())
    throw ResourceError("{}: no object 'weight_map'; expected {{tensor name: shard file}}; fetch the file again", index_path);
  std::map<std::string, const SafetensorsFile*> open;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string() || !is_plain_name(shard.get_ref<const std::string&>()))
      throw ResourceError(
          "{}: tensor {}: shard {}; expected the name of a file beside the index; the index is damaged or hostile", index_path,
          quoted_name(tensor), json_excerpt(shard));
    const std::string& name = shard.get_ref<const std::string&>();
    auto it = open.find(name);
    if (it == open.end()) {
      if (!fs::exists(dir / name, error))
        throw ResourceError("{}: shard {} is missing (it holds tensor {}); expected it beside the index; fetch the model again",
                            index_path, quoted_name(name), quoted_name(tensor));
      files_.push_back(std::make_unique<SafetensorsFile>((dir / name).string()));
      it = open.emplace(name, files_.back().get()).first;
    }
    const TensorInfo* t = it->second->find(tensor);
    if (t == nullptr)
      throw ResourceError(
          "{}: tensor {} is not in shard {}; expected it there; index and shards do not belong together, fetch the model "
          "again",
          index_path, quoted_name(tensor), quoted_name(name));
    places_[tensor] = {it->second, t};
  }
}

void TensorFiles::add_prefix(const std::string& prefix, const std::string& except) {
  std::map<std::string, Place> named;
  for (const auto& [name, place] : places_) {
    const bool longer = name != except && !name.starts_with(prefix) && places_.count(prefix + name) == 0;
    named[longer ? prefix + name : name] = place;
  }
  places_ = std::move(named);
}

TensorFiles::Place TensorFiles::at(const std::string& name) const {
  const auto it = places_.find(name);
  if (it != places_.end()) return it->second;
  std::vector<std::string> names;
  for (const auto& [n, place] : places_)
    names.push_back(n);
  const std::string near = nearest_name(name, names);
  throw ResourceError("{}: no tensor {}; expected it among the checkpoint's {} tensors{}", folder_, quoted_name(name),
                      names.size(), near.empty() ? "" : fmt::format("; the nearest name is {}", quoted_name(near)));
}

std::string digest_of(const TensorFiles& files) {
  const std::string key = digest_key(files);
  std::string side_file;
  if (!key.empty()) {
    try {
      side_file = (fs::path(cache_folder()) / "digests" / sha256_hex(key)).string();
      std::error_code error;
      if (fs::exists(side_file, error)) {
        const std::string known = read_file(side_file, 1024);
        if (is_digest(known)) return known;
      }
    } catch (const ResourceError& e) {
      log_debug("model digest is not remembered: {}", e.what());
    }
  }
  Sha256 sha;
  for (const auto& [name, place] : files.places()) {
    const std::string head =
        fmt::format("{}:{} {} {}\n", name.size(), name, dtype_name(place.tensor->dtype), place.tensor->shape_text());
    sha.update(head.data(), head.size());
    const std::span<const std::byte> bytes = place.file->bytes(*place.tensor);
    sha.update(bytes.data(), bytes.size());
    place.file->release(*place.tensor);
  }
  const std::string digest = sha.hex();
  // The files may have changed while they were read; then the digest belongs to nothing that should be remembered.
  if (!side_file.empty() && digest_key(files) == key) {
    try {
      make_folders(fs::path(side_file).parent_path().string());
      write_file_atomically(side_file, digest);
    } catch (const ResourceError& e) {
      log_debug("model digest is not remembered: {}", e.what());
    }
  }
  return digest;
}

void keep_own_head(const TensorFiles& files, ModelConfig& config) {
  const Family* family = recognised_family(config);
  if (family == nullptr || !tied_head(*family, config) || !files.has(family->head) || !files.has(family->embedding)) return;
  const TensorFiles::Place head = files.at(family->head), embedding = files.at(family->embedding);
  const bool same = same_values(head, embedding);
  head.file->release(*head.tensor);
  embedding.file->release(*embedding.tensor);
  if (same) return;
  config.notes.push_back(fmt::format(
      "{}: '{}' is not '{}', though tie_word_embeddings is {}: the head of the file counts, as in transformers 5; set the flag to false",
      files.folder(), family->head, family->embedding, config.tie_word_embeddings ? "true" : "left out, which means true"));
  config.tie_word_embeddings = false;
}

void check_finite_tensors(const TensorFiles& files, const Family& family, const ModelConfig& config,
                          const std::function<bool(const std::string&)>& skips) {
  std::vector<float> piece;
  for (const ExpectedTensor& t : expected_tensors(family, config)) {
    if (skips(t.name)) continue;
    const TensorFiles::Place place = files.at(t.name);
    for (int64_t at = 0; at < place.tensor->elements(); at += kPiece) {
      piece.resize(static_cast<size_t>(std::min(kPiece, place.tensor->elements() - at)));
      place.file->to_float(*place.tensor, at, piece);
    }
    place.file->release(*place.tensor);
  }
}

CheckpointSource::CheckpointSource(const std::string& folder)
    : folder_(folder), config_(read_model_config(folder)), files_(folder) {
  if (!config_.quantization_method.empty())
    throw ResourceError(
        "{}: quantization_config of method '{}'; expected full-precision weights; name the original model's directory",
        config_.path, config_.quantization_method);
  const Family* family = recognised_family(config_);
  if (family != nullptr && family->embedding.starts_with(kModelPrefix) && !files_.has(family->embedding) &&
      files_.has(family->embedding.substr(kModelPrefix.size())))
    files_.add_prefix(std::string(kModelPrefix), family->head);
  keep_own_head(files_, config_);
  for (const std::string& note : config_.notes)
    log_warning_once(note);
}

std::string CheckpointSource::digest() const {
  return digest_.get([&] { return model_digest(config_, digest_of(files_), folder_); });
}

std::vector<std::string> CheckpointSource::names() const {
  std::vector<std::string> out;
  for (const auto& [name, place] : files_.places())
    out.push_back(name);
  return out;
}

std::vector<int64_t> CheckpointSource::shape(const std::string& name) const { return files_.at(name).tensor->shape; }
Matrix CheckpointSource::load_linear(const std::string& name) const {
  const TensorFiles::Place place = files_.at(name);
  return place.file->load_matrix(place.tensor->name);
}
std::vector<float> CheckpointSource::load_vector(const std::string& name) const {
  const TensorFiles::Place place = files_.at(name);
  return place.file->load_vector(place.tensor->name);
}

Matrix CheckpointSource::load_rows(const std::string& name, std::span<const int32_t> rows) const {
  const TensorFiles::Place place = files_.at(name);
  const TensorInfo& t = *place.tensor;
  if (t.shape.size() != 2)
    throw ResourceError("{}: tensor {}: shape {}; expected two dimensions", place.file->path(), quoted_name(name),
                        t.shape_text());
  Matrix out(static_cast<int64_t>(rows.size()), t.shape[1]);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= t.shape[0])
      throw ResourceError(
          "{}: tensor {}: row {} of {} asked for; expected ids inside the vocabulary; tokenizer or text do not belong to "
          "this model",
          place.file->path(), quoted_name(name), rows[i], t.shape[0]);
    place.file->to_float(t, rows[i] * t.shape[1], {out.row(static_cast<int64_t>(i)), static_cast<size_t>(t.shape[1])});
  }
  return out;
}

void CheckpointSource::release(const std::string& name) const {
  const TensorFiles::Place place = files_.at(name);
  place.file->release(*place.tensor);
}

std::unique_ptr<WeightSource> open_checkpoint(const std::string& folder) { return std::make_unique<CheckpointSource>(folder); }

}  // namespace sage
