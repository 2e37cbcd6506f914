#include "core/calibration/calibration_config.h"

#include "core/util/errors.h"

namespace sage {

const char* propagation_name(Propagation propagation) {
  return propagation == Propagation::kOriginal ? "original" : "quantized";
}

Schema<CalibrationConfig> calibration_schema() {
  using C = CalibrationConfig;
  constexpr int64_t kMostBytes = int64_t{1} << 50;
  return Schema<C>{}
      .add("dataset", &C::dataset,
           "Text the samples come from: a name such as c4 or wikitext2:train, or a .txt or .jsonl file.")
      .add("rule", &C::rule,
           choices<RuleChoice>({{"auto", RuleChoice::kAuto},
                                {"windows", RuleChoice::kWindows},
                                {"documents", RuleChoice::kDocuments},
                                {"documents_at_least", RuleChoice::kDocumentsAtLeast}}),
           "How samples are drawn: windows of the joined text, or windows of random documents that are longer than a sample "
           "(PB-LLM, BiLLM) or at least as long (GPTQ). auto: documents from a .jsonl, windows otherwise.")
      .add("join", &C::join,
           choices<TextJoin>({{"gptq", TextJoin::kGptq}, {"spaces", TextJoin::kSpaces}, {"raw_file", TextJoin::kRawFile}}),
           "How rows are joined for windows: two line feeds (GPTQ), one space (PB-LLM, BiLLM), or the file as it is.")
      .add("samples", &C::samples, range(1, 1 << 20), "Calibration sequences.")
      .add("length_tokens", &C::length_tokens, range(2, 1 << 20), "Tokens of each sequence.")
      .add("seed", &C::seed, range(int64_t{0}, std::numeric_limits<int64_t>::max()),
           "Seed of the draws; the same samples as Python's random module gives.")
      .add("propagation", &C::propagation,
           choices<Propagation>({{"quantized", Propagation::kQuantized}, {"original", Propagation::kOriginal}}),
           "Inputs of a block come from the quantized blocks before it (GPTQ, PB-LLM, BiLLM) or from the original ones.")
      .add("layer_order", &C::layer_order,
           choices<LayerOrder>({{"together", LayerOrder::kTogether}, {"sequential", LayerOrder::kSequential}}),
           "Inputs of a block's layers are collected together, before any of them is quantized, or sequentially: query, key and "
           "value, output, gate and up, down, those before already quantized (--true-sequential of GPTQ).")
      .add("gram", &C::gram, choices<GramPrecision>({{"fp32", GramPrecision::kFp32}, {"fp64", GramPrecision::kFp64}}),
           "Precision in which Grams are summed, factored and inverted.")
      .add("percdamp", &C::percdamp, range(0.0, 100.0), "Damping of the Gram, as a share of its mean diagonal.")
      .add("max_percdamp", &C::max_percdamp, range(0.0, 100.0),
           "Largest damping that is tried, in steps of ten, when a Gram is not positive definite.")
      .add("cache_bytes", &C::cache_bytes, range(int64_t{0}, kMostBytes),
           "Budget of the Gram cache on disk; 0 switches it off.")
      .add("hidden_states_bytes", &C::hidden_states_bytes, range(int64_t{0}, kMostBytes),
           "Hidden states above this size live in a mapped file instead of memory.");
}

CalibrationConfig parse_calibration(const Value& section) {
  const CalibrationConfig c = calibration_schema().parse(section, "calibration");
  if (c.percdamp > c.max_percdamp)
    throw UserError(
        "{}: calibration.percdamp {} is above calibration.max_percdamp {}; expected the opposite; raise max_percdamp",
        section.where().str(), c.percdamp, c.max_percdamp);
  if (c.layer_order == LayerOrder::kSequential && c.propagation == Propagation::kOriginal)
    throw UserError(
        "{}: calibration.layer_order sequential with propagation original; expected propagation quantized, since sequential "
        "means that inputs come from quantized layers; set one of the two back",
        section.where().str());
  return c;
}

SampleOptions sample_options(const CalibrationConfig& config, const Text& text) {
  SampleOptions o;
  switch (config.rule) {
    case RuleChoice::kAuto: o.rule = text.json_lines ? SampleRule::kDocuments : SampleRule::kWindows; break;
    case RuleChoice::kWindows: o.rule = SampleRule::kWindows; break;
    case RuleChoice::kDocuments: o.rule = SampleRule::kDocuments; break;
    case RuleChoice::kDocumentsAtLeast: o.rule = SampleRule::kDocumentsAtLeast; break;
  }
  o.join = config.join;
  o.samples = config.samples;
  o.length = config.length_tokens;
  o.seed = static_cast<uint64_t>(config.seed);
  return o;
}

FactorOptions factor_options(const CalibrationConfig& config, Numerics numerics) {
  FactorOptions o;
  o.percdamp = config.percdamp;
  o.max_percdamp = config.max_percdamp;
  o.precision = numerics == Numerics::kReference ? GramPrecision::kFp64 : config.gram;
  return o;
}

Value calibration_identity(const CalibrationConfig& config) {
  Value v = calibration_schema().print(config);
  for (const char* key : {"dataset", "cache_bytes", "hidden_states_bytes"})
    v.erase(key);
  // As it was before there was a choice: results stored under their keys stay valid.
  if (config.layer_order == LayerOrder::kTogether) v.erase("layer_order");
  return v;
}

}  // namespace sage
