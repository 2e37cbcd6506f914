// The `calibration` section.
#include "core/calibration/calibration_config.h"

#include "tests/calibration/support.h"

namespace sage::test {
namespace {

CalibrationConfig parse(const std::string& yaml) { return parse_calibration(parse_yaml(yaml, "e.yaml")); }

TEST(CalibrationConfig, DefaultsAreThoseOfTheReleasedCode) {
  const CalibrationConfig c = parse_calibration(Value::null());
  EXPECT_EQ(c.samples, 128);
  EXPECT_EQ(c.length_tokens, 2048);
  EXPECT_EQ(c.seed, 0);
  EXPECT_EQ(c.percdamp, 0.01);
  EXPECT_EQ(c.propagation, Propagation::kQuantized);
}

TEST(CalibrationConfig, KeysArriveWhereTheyBelong) {
  const CalibrationConfig c = parse(
      "{dataset: my.jsonl, rule: documents_at_least, join: spaces, samples: 7, length_tokens: 33, seed: 5, "
      "propagation: original, gram: fp64, percdamp: 0.1, max_percdamp: 0.5, cache_bytes: 0, hidden_states_bytes: 10}");
  EXPECT_EQ(c.dataset, "my.jsonl");
  EXPECT_EQ(c.propagation, Propagation::kOriginal);
  EXPECT_EQ(c.cache_bytes, 0);
  EXPECT_EQ(c.hidden_states_bytes, 10);
  const SampleOptions s = sample_options(c, Text{});
  EXPECT_EQ(s.rule, SampleRule::kDocumentsAtLeast);
  EXPECT_EQ(s.join, TextJoin::kSpaces);
  EXPECT_EQ(s.samples, 7);
  EXPECT_EQ(s.length, 33);
  EXPECT_EQ(s.seed, 5u);
  const FactorOptions f = factor_options(c);
  EXPECT_EQ(f.percdamp, 0.1);
  EXPECT_EQ(f.max_percdamp, 0.5);
  EXPECT_EQ(f.precision, GramPrecision::kFp64);
}

TEST(CalibrationConfig, AutomaticRule) {
  Text lines, plain;
  lines.json_lines = true;
  EXPECT_EQ(sample_options({}, lines).rule, SampleRule::kDocuments);
  EXPECT_EQ(sample_options({}, plain).rule, SampleRule::kWindows);
}

TEST(CalibrationConfig, Mistakes) {
  expect_words(message_of<UserError>([] { parse("{sample: 3}"); }), {"e.yaml:1", "sample", "samples"});
  expect_words(message_of<UserError>([] { parse("{propagation: quantised}"); }), {"e.yaml:1", "quantized"});
  expect_words(message_of<UserError>([] { parse("{percdamp: 2}"); }), {"e.yaml:1", "percdamp", "max_percdamp"});
  expect_words(message_of<UserError>([] { parse("{layer_order: sequential, propagation: original}"); }),
               {"e.yaml:1", "layer_order sequential", "propagation original"});
  for (const char* bad : {"{samples: 0}", "{length_tokens: 1}", "{seed: -1}", "{gram: fp16}", "{percdamp: -1}", "{join: x}",
                          "{cache_bytes: -1}", "[]"})
    EXPECT_THROW(parse(bad), UserError) << bad;
}

TEST(CalibrationConfig, PrintsAndReadsBack) {
  const CalibrationConfig c = parse("{samples: 3, gram: fp64, rule: windows}");
  const Value printed = calibration_schema().print(c);
  EXPECT_EQ(canonical_json(calibration_schema().print(parse_calibration(printed))), canonical_json(printed));
}

// Where files are and how much room they may take does not shape results; everything else does.
TEST(CalibrationConfig, Identity) {
  const std::string base = canonical_json(calibration_identity(parse("{}")));
  for (const char* same : {"{cache_bytes: 1}", "{hidden_states_bytes: 1}", "{dataset: other}"})
    EXPECT_EQ(canonical_json(calibration_identity(parse(same))), base) << same;
  for (const char* other : {"{seed: 1}", "{samples: 4}", "{length_tokens: 64}", "{propagation: original}", "{gram: fp64}",
                            "{percdamp: 0.02}", "{layer_order: sequential}", "{max_percdamp: 2}", "{rule: windows}", "{join: spaces}"})
    EXPECT_NE(canonical_json(calibration_identity(parse(other))), base) << other;
  // Results stored before there was a choice of order keep their keys.
  EXPECT_EQ(base.find("layer_order"), std::string::npos);
}

}  // namespace
}  // namespace sage::test
