#include "core/pipeline/packed_config.h"

#include <nlohmann/json.hpp>

#include "core/model/family.h"
#include "core/util/errors.h"

namespace sage {
namespace {

using nlohmann::json;

constexpr const char* kQuantizationKey = "quantization_config";
constexpr const char* kDtypeKey = "dtype";
constexpr const char* kDtypesKey = "dtypes";
constexpr const char* kTiedKey = "tie_word_embeddings";

// A head that counts against the flag (keep_own_head) is one every reader must count.
void set_tied_flag(const ModelConfig& parsed, json& config) {
  const Family* family = recognised_family(parsed);
  if (family == nullptr || tied_head(*family, parsed)) return;
  const auto flag = config.find(kTiedKey);
  const bool tied = flag == config.end() || flag->is_null() ? family->tied_by_default : flag->get<bool>();
  if (tied) config[kTiedKey] = false;
}

DType dtype_of(const json& value, const std::string& path) {
  DType dtype = DType::kF16;
  if (!value.is_string() || !parse_dtype(value.get<std::string>(), &dtype) ||
      (dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF32))
    throw ResourceError(
        "{}: quantization_config: {} as a matrix's dtype; expected F16, BF16 or F32; the packed directory is damaged", path,
        value.dump());
  return dtype;
}

}  // namespace

json packed_config(const ModelConfig& source, json quantization) {
  json config = json::parse(source.json);
  json original = json::object();
  for (const char* key : kOriginalKeys)
    if (const auto it = config.find(key); it != config.end()) {
      original[key] = *it;
      config.erase(it);
    }
  quantization[kOriginalKey] = std::move(original);
  config["model_type"] = kPackedSentence;
  config["architectures"] = {kPackedSentence};
  config["torch_dtype"] = kPackedSentence;
  set_tied_flag(source, config);
  config[kQuantizationKey] = std::move(quantization);
  return config;
}

json exported_config(const ModelConfig& packed, const std::string& torch_dtype) {
  json config = json::parse(packed.json);
  const json quantization = config.at(kQuantizationKey);
  config.erase(kQuantizationKey);
  if (const auto original = quantization.find(kOriginalKey); original != quantization.end())
    for (const char* key : kOriginalKeys) {
      config.erase(key);
      if (const auto it = original->find(key); it != original->end()) config[key] = *it;
    }
  set_tied_flag(packed, config);
  if (!torch_dtype.empty()) {
    config.erase("dtype");  // the newer spelling of the same key
    config["torch_dtype"] = torch_dtype;
  }
  return config;
}

void write_source_dtypes(const std::map<std::string, DType>& dtypes, json& quantization) {
  std::map<DType, int64_t> count;
  for (const auto& [name, dtype] : dtypes)
    ++count[dtype];
  DType most = DType::kF16;
  for (const auto& [dtype, n] : count)
    if (n > count[most]) most = dtype;
  quantization[kDtypeKey] = dtype_name(most);
  for (const auto& [name, dtype] : dtypes)
    if (dtype != most) quantization[kDtypesKey][name] = dtype_name(dtype);
}

std::map<std::string, DType> read_source_dtypes(const json& quantization, const std::string& path) {
  std::map<std::string, DType> out;
  if (const auto it = quantization.find(kDtypeKey); it != quantization.end()) out[""] = dtype_of(*it, path);
  if (const auto it = quantization.find(kDtypesKey); it != quantization.end()) {
    if (!it->is_object())
      throw ResourceError("{}: quantization_config.dtypes: found {}; expected F16, BF16 or F32 under the names of matrices; the file is damaged", path, it->dump());
    for (const auto& [name, value] : it->items())
      out[name] = dtype_of(value, path);
  }
  return out;
}

}  // namespace sage
