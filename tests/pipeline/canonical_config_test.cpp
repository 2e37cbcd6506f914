// One canonical form for pipelines that cannot differ in what they store.
#include <gtest/gtest.h>

#include "core/util/errors.h"
#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

using test::factory;

std::string canonical(const std::string& yaml) { return canonical_json(factory(yaml).config()); }

// What would choose, fit and write salient weights, one setting each.
const char* const kIdle[] = {"threshold: {type: fixed, ratio: 0.1}",
                             "threshold: {type: brent, objective: rate_distortion}",
                             "salient_quantizer: {type: multibit, bits: 2}",
                             "salient_quantizer: {type: uniform, bits: 8, range: all}",
                             "salient_segment_columns: 16",
                             "salient_segment_weights: original",
                             "trial_weights: 4096",
                             "coder: {salient_index: bitmap}"};

TEST(CanonicalConfig, WhatActsOnSalientWeightsCountsOnlyWhereThereAreSome) {
  const std::string none = "quantizer: {type: uniform, bits: 3}\nsegment_weights: cleaned\n", some = none + "saliency: magnitude\n";
  for (const std::string keys : kIdle) {
    SCOPED_TRACE(keys);
    EXPECT_EQ(canonical(none + keys), canonical(none));
    EXPECT_NE(canonical(some + keys), canonical(some));
    EXPECT_NE(canonical(none + "alternatives: [{grouping: {type: kmeans, groups: 2}}]\n" + keys),
              canonical(none + "alternatives: [{grouping: {type: kmeans, groups: 2}}]\n"))
        << "thresholds compare alternatives";
    EXPECT_EQ(factory(none + keys).component_versions(), factory(none).component_versions());
  }
  // It is checked all the same.
  EXPECT_THROW(factory(none + "threshold: {type: fixed, ratoi: 0.1}"), UserError);
}

// The settings indeed do nothing: put back into the canonical section, they give the same planes.
TEST(CanonicalConfig, WhatIsDroppedStoresTheSamePlanes) {
  const test::Layer layer(24, 64, 5);
  const std::string none =
      "quantizer: {type: uniform, bits: 3, group_size: 16}\ncompensator: gptq\nsegment_columns: 32\nblock_columns: 32\n"
      "segment_weights: cleaned\n";
  const MatrixResult expected = layer.quantize(factory(none));
  for (const std::string keys : kIdle) {
    SCOPED_TRACE(keys);
    Value restored = factory(none).config();
    const Value written = factory(none + "saliency: magnitude\n" + keys).config();
    for (const char* key : {"threshold", "salient_quantizer", "salient_segment_columns", "salient_segment_weights", "trial_weights", "coder"})
      restored.set(key, *written.find(key));
    ASSERT_NE(canonical_json(restored), canonical(none));
    const MatrixResult r = layer.quantize(PipelineFactory(restored, test::registries()));
    EXPECT_TRUE(test::same_planes(r.packed, expected.packed));
    EXPECT_TRUE(test::same_bits(r.dequantized, expected.dequantized));
    EXPECT_EQ(r.storage.paper_bits(), expected.storage.paper_bits());
  }
}

}  // namespace
}  // namespace sage
