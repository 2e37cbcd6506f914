// The `calibration` section of an experiment file:
//
//   calibration: {dataset: c4, samples: 128, length_tokens: 2048, seed: 0, propagation: quantized}
#pragma once

#include <cstdint>
#include <string>

#include "core/calibration/gram.h"
#include "core/calibration/hessian_factor.h"
#include "core/calibration/sampler.h"
#include "core/config/schema.h"
#include "core/strategy/planes.h"

namespace sage {

// What the layers before the one in work are while its inputs are collected.
enum class Propagation {
  kQuantized,  // already quantized (GPTQ, PB-LLM, BiLLM)
  kOriginal,   // the model's own weights: all Grams can be shared between runs
};
const char* propagation_name(Propagation propagation);  // "quantized", "original"

// What the linear layers of a block are while the inputs of its others are collected.
enum class LayerOrder {
  kTogether,    // all still unquantized: one pass collects the inputs of all of them (GPTQ, PB-LLM, BiLLM)
  kSequential,  // one group of layers with a common input after the other, those before it quantized (GPTQ, --true-sequential)
};

// How samples are drawn; kAuto: documents from a .jsonl, windows from any other text.
enum class RuleChoice { kAuto, kWindows, kDocuments, kDocumentsAtLeast };

struct CalibrationConfig {
  std::string dataset = "default:calibration";  // of load_text: a name or a file
  RuleChoice rule = RuleChoice::kAuto;
  TextJoin join = TextJoin::kGptq;
  int samples = 128;
  int length_tokens = 2048;
  int64_t seed = 0;
  Propagation propagation = Propagation::kQuantized;
  LayerOrder layer_order = LayerOrder::kTogether;
  GramPrecision gram = GramPrecision::kFp32;
  double percdamp = 0.01;
  double max_percdamp = 1.0;
  int64_t cache_bytes = int64_t{8} << 30;
  int64_t hidden_states_bytes = int64_t{1} << 30;
};
Schema<CalibrationConfig> calibration_schema();

// Checks across keys, too. UserError with the place in the file.
CalibrationConfig parse_calibration(const Value& section);

// `text` decides what kAuto means.
SampleOptions sample_options(const CalibrationConfig& config, const Text& text);
// With reference numerics Grams are factored in FP64 whatever the config says: an FP32 factor's own rounding errors would decide
// codes that the released code's did not.
FactorOptions factor_options(const CalibrationConfig& config, Numerics numerics = Numerics::kPacked);

// The part that shapes results, as a canonical map: for run keys. Without cache_bytes and hidden_states_bytes, and without
// dataset, whose digest takes its place (SampleSet::digest).
Value calibration_identity(const CalibrationConfig& config);

}  // namespace sage
