// Which segments, blocks and orders go together: what does not is refused where it is written, before any work.
#include <gtest/gtest.h>

#include "core/util/errors.h"
#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

using test::expect_words;
using test::factory;
using test::message_of;

// Keys one a line, so that the place in a message is that of a key.
void expect_refused(const std::string& keys, const std::vector<std::string>& words) {
  SCOPED_TRACE(keys);
  expect_words(message_of<UserError>([&] { factory("quantizer: binary\nsalient_quantizer: multibit\n" + keys); }), words);
}
void expect_taken(const std::string& keys) {
  SCOPED_TRACE(keys);
  EXPECT_NO_THROW(factory("quantizer: binary\nsalient_quantizer: multibit\n" + keys));
}

TEST(ScopesConfig, SegmentsAndBlocksDivideEachOther) {
  for (const char* compensator : {"gptq", "block", "block_exact"}) {
    const std::string with = fmt::format("compensator: {}\n", compensator);
    expect_refused(with + "block_columns: 64\nsegment_columns: 96\n", {"test:5", "pipeline.segment_columns", "96 columns with blocks of 64", "expected one to divide the other"});
    expect_refused(with + "block_columns: 64\nsegment_columns: 64\nsegment_weights: cleaned\nsalient_segment_columns: 48\n",
                   {"test:7", "pipeline.salient_segment_columns", "48 columns with blocks of 64", "expected one to divide the other"});
    // Without a width for blocks, a segment is one.
    expect_refused(with + "segment_columns: 64\nsegment_weights: cleaned\nsalient_segment_columns: 48\n", {"test:6", "48 columns with blocks of 64"});
    for (const char* widths : {"block_columns: 64\nsegment_columns: 16\n", "block_columns: 16\nsegment_columns: 64\n", "block_columns: 64\nsegment_columns: 0\n",
                               "block_columns: 0\nsegment_columns: 48\n", "block_columns: 7\nsegment_columns: 7\n"})
      expect_taken(with + widths);
  }
  expect_taken("block_columns: 64\nsegment_columns: 96\n");  // blocks are the compensator's
}

TEST(ScopesConfig, SalientWeightsAreSelectedBeforeTheyAreFitted) {
  for (const char* when : {"original", "cleaned"}) {
    expect_refused(fmt::format("compensator: gptq\nsegment_columns: 64\nsalient_segment_weights: {}\n", when),
                   {"test:5", "pipeline.salient_segment_weights", "chosen before compensation while the salient weights are selected after it",
                    "expected segment_weights original or cleaned, or salient_segment_weights compensated"});
    for (const char* selected : {"original", "cleaned"})
      expect_taken(fmt::format("compensator: gptq\nsegment_columns: 64\nsegment_weights: {}\nsalient_segment_weights: {}\n", selected, when));
    expect_taken(fmt::format("segment_columns: 64\nsalient_segment_weights: {}\n", when));
  }
  expect_refused("compensator: gptq\nsegment_columns: 32\nsalient_segment_columns: 64\n",
                 {"test:5", "pipeline.salient_segment_columns", "segments of 64 columns, selected in segments of 32", "expected a divisor of segment_columns"});
  expect_refused("compensator: gptq\nsegment_columns: 32\nsalient_segment_columns: 0\n", {"test:5", "segments of 0 columns, selected in segments of 32"});
  expect_taken("compensator: gptq\nsegment_columns: 32\nsalient_segment_columns: 8\n");
  expect_taken("compensator: gptq\nsegment_columns: 0\nsalient_segment_columns: 8\n");
  expect_taken("compensator: gptq\nsegment_columns: 32\nsegment_weights: original\nsalient_segment_columns: 64\n");
  expect_taken("compensator: gptq\nsegment_columns: 32\nsegment_weights: original\nsalient_segment_columns: 0\n");
}

TEST(ScopesConfig, ActivationOrderNeedsColumnByColumn) {
  for (const char* compensator : {"none", "block", "block_exact"})
    expect_refused(fmt::format("compensator: {}\ncolumn_order: activation\n", compensator),
                   {"test:4", "pipeline.column_order", "activation with a compensator that does not work column by column", "expected compensator gptq, or column_order natural"});
  expect_refused("compensator: gptq\ncolumn_order: activation\nsegment_columns: 64\nsalient_segment_columns: 32\n",
                 {"test:6", "pipeline.salient_segment_columns", "differs from segment_columns with column_order activation", "expected the same columns for both"});
  expect_taken("compensator: gptq\ncolumn_order: activation\nsegment_columns: 64\n");
  expect_taken("compensator: gptq\ncolumn_order: activation\nsegment_columns: 64\nsalient_segment_columns: 64\n");
  expect_taken("compensator: gptq\ncolumn_order: activation\nsegment_columns: 64\nsegment_weights: cleaned\nsalient_segment_columns: 32\n");
}

// An alternative must hold together as a pipeline of its own.
TEST(ScopesConfig, AlternativesAreCheckedToo) {
  expect_refused("compensator: gptq\nblock_columns: 64\nsegment_columns: 64\nalternatives:\n  - segment_columns: 32\n  - segment_columns: 48\n",
                 {"test:8", "48 columns with blocks of 64"});
}

TEST(ScopesConfig, ChoicesAreNamed) {
  expect_refused("segment_weights: late\n", {"test:3", "segment_weights", "late", "original", "cleaned", "compensated"});
  expect_refused("column_order: random\n", {"test:3", "column_order", "natural", "activation"});
  expect_refused("dead_columns: drop\n", {"test:3", "dead_columns", "keep", "zero"});
  expect_refused("segment_columns: -1\n", {"test:3", "segment_columns", "-1"});
  expect_refused("salient_segment_columns: -2\n", {"test:3", "salient_segment_columns", "-2"});
}

TEST(ScopesConfig, SayWhatNeedsCalibration) {
  for (const char* keys : {"compensator: gptq\n", "compensator: block\n", "dead_columns: zero\n", "saliency: hessian\nthreshold: {type: fixed, ratio: 0.1}\n",
                           "alternatives: [{compensator: gptq}]\n"})
    EXPECT_TRUE(factory(std::string("quantizer: binary\n") + keys).needs_calibration()) << keys;
  EXPECT_FALSE(factory("quantizer: binary\nsegment_columns: 16\nblock_columns: 16\n").needs_calibration());
}

}  // namespace
}  // namespace sage
