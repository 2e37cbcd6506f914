#include "core/calibration/gram_cache.h"

#include <charconv>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "core/model/safetensors.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {
namespace fs = std::filesystem;

namespace {

constexpr const char* kTensor = "gram_upper";
constexpr const char* kSuffix = ".gram";

std::string full_key(const std::string& key, const std::string& group) { return key + "\ngroup " + group; }

std::vector<float> upper_triangle(const Matrix& gram) {
  std::vector<float> out;
  out.reserve(static_cast<size_t>(gram.rows() * (gram.rows() + 1) / 2));
  for (int64_t i = 0; i < gram.rows(); ++i)
    out.insert(out.end(), gram.row(i) + i, gram.row(i) + gram.cols());
  return out;
}

// Over everything that is handed out: a damaged count is as wrong as a damaged sum.
std::string digest_of(std::span<const std::byte> bytes, const std::string& sequences, const std::string& tokens) {
  const std::string counts = sequences + " " + tokens + "\n";
  Sha256 sha;
  sha.update(counts.data(), counts.size());
  sha.update(bytes.data(), bytes.size());
  return sha.hex();
}

int64_t count_in(const SafetensorsFile& file, const char* name) {
  const std::string& text = file.metadata().at(name);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 1)
    throw ResourceError("{}: {} is \"{}\"; expected a count; the file is damaged", file.path(), name, text);
  return value;
}

Gram read(const std::string& path, const std::string& key, int64_t cols) {
  const SafetensorsFile file(path);
  const auto is = [&](const char* name, const std::string& value) {
    const auto it = file.metadata().find(name);
    return it != file.metadata().end() && it->second == value;
  };
  const TensorInfo& tensor = file.at(kTensor);
  if (!is("key", key) || tensor.dtype != DType::kF32 || tensor.shape != std::vector<int64_t>{cols * (cols + 1) / 2} ||
      file.metadata().count("sequences") == 0 || file.metadata().count("tokens") == 0)
    throw ResourceError("{}: not the Gram asked for; expected one of {} inputs; the file is damaged", path, cols);
  const std::span<const std::byte> bytes = file.bytes(tensor);
  if (!is("sha256", digest_of(bytes, file.metadata().at("sequences"), file.metadata().at("tokens"))))
    throw ResourceError("{}: its checksum is wrong; expected what was written; the file is damaged", path);
  Gram g;
  g.sequences = count_in(file, "sequences");
  g.tokens = count_in(file, "tokens");
  g.matrix = Matrix(cols, cols);
  const std::byte* from = bytes.data();
  for (int64_t i = 0; i < cols; ++i) {
    const auto row_bytes = static_cast<size_t>(cols - i) * sizeof(float);
    std::memcpy(g.matrix.row(i) + i, from, row_bytes);
    from += row_bytes;
  }
  for (int64_t i = 0; i < cols; ++i)
    for (int64_t j = 0; j < i; ++j)
      g.matrix(i, j) = g.matrix(j, i);
  return g;
}

}  // namespace

std::string gram_key(const std::string& model_digest, const std::string& samples_digest, GramPrecision precision,
                     const std::string& backend, int layer, const std::string& propagated) {
  return fmt::format("gram 2\nmodel {}\nsamples {}\nprecision {}\nbackend {}\nlayer {}\npropagated {}", model_digest,
                     samples_digest, gram_precision_name(precision), backend, layer, propagated);
}

namespace {

LruFolder files_of(const std::string& folder, uint64_t budget_bytes) {
  if (!folder.empty() || budget_bytes == 0) return {folder, kSuffix, budget_bytes};
  try {
    return {cache_folder() + "/grams", kSuffix, budget_bytes};
  } catch (const ResourceError& e) {
    warn_without_cache(e.what());
    return {"", kSuffix, 0};
  }
}

}  // namespace

GramCache::GramCache(const std::string& folder, uint64_t budget_bytes) : files_(files_of(folder, budget_bytes)) {}

std::string GramCache::path(const std::string& key, const std::string& group) const {
  return files_.path(full_key(key, group));
}

std::optional<Gram> GramCache::find(const std::string& key, const std::string& group, int64_t cols) const {
  if (files_.budget_bytes() == 0) return std::nullopt;
  const std::string file = path(key, group);
  std::error_code ignored;
  if (!fs::exists(file, ignored)) return std::nullopt;
  try {
    Gram g = read(file, full_key(key, group), cols);
    files_.mark_used(file);
    return g;
  } catch (const ResourceError& e) {
    log_warning("{}; the Gram is collected again", e.what());
    fs::remove(file, ignored);
  }
  return std::nullopt;
}

void GramCache::store(const std::string& key, const std::string& group, const Gram& gram) const {
  if (files_.budget_bytes() == 0) return;
  const std::vector<float> triangle = upper_triangle(gram.matrix);
  const auto bytes = std::as_bytes(std::span(triangle));
  const std::string file = path(key, group);
  SafetensorsWriter writer;
  writer.set_metadata("key", full_key(key, group));
  const std::string sequences = std::to_string(gram.sequences), tokens = std::to_string(gram.tokens);
  writer.set_metadata("sequences", sequences);
  writer.set_metadata("tokens", tokens);
  writer.set_metadata("sha256", digest_of(bytes, sequences, tokens));
  writer.add(kTensor, DType::kF32, {static_cast<int64_t>(triangle.size())}, bytes);
  if (writer.sizes().total() > files_.budget_bytes()) {
    log_debug("Gram cache: {} bytes exceed the budget of {}, not stored", writer.sizes().total(), files_.budget_bytes());
    return;
  }
  try {
    make_folders(folder());
    writer.write(file);
    files_.evict(file);
  } catch (const ResourceError& e) {
    warn_without_cache(e.what());
  }
}

}  // namespace sage
