// config.json of a packed directory.
//
// It is the model's own with a quantization_config. Programs that know nothing of that would take the directory for the model
// and fill every layer they do not find with random numbers (transformers does, with a line in the log). So what they would load
// it by says what to do instead, and they stop with that sentence:
//
//   model_type      transformers' Auto classes, lm-eval and vLLM: "has model type `...` but Transformers does not recognize ..."
//   torch_dtype     a class named by hand, LlamaForCausalLM.from_pretrained(): "module 'torch' has no attribute '...'"
//   architectures   programs that choose by it
//
// What these keys were is kept under quantization_config.original, where parse_model_config finds it. Directories written before
// have the keys as they were and are read as ever.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/model/model_config.h"
#include "core/model/safetensors.h"

namespace sage {

// The sentence.
inline constexpr const char* kPackedSentence =
    "packed by sage-ptq: write an ordinary checkpoint with `sageptq export PACKED --dequantized -o DIR` and load DIR";

// `source`: the model that was quantized. `quantization`: the quantization_config so far.
nlohmann::json packed_config(const ModelConfig& source, nlohmann::json quantization);
// And back: of the directory whose config.json is `packed`. dtype_name: what torch_dtype is to say; "" leaves the model's own.
nlohmann::json exported_config(const ModelConfig& packed, const std::string& torch_dtype);

// Dtypes the quantized matrices had, by name: "dtype" for most of them, "dtypes" for those that differ. Read as written, with ""
// for "dtype"; nothing where a directory does not say. ResourceError for anything else.
void write_source_dtypes(const std::map<std::string, DType>& dtypes, nlohmann::json& quantization);
std::map<std::string, DType> read_source_dtypes(const nlohmann::json& quantization, const std::string& path);

}  // namespace sage
