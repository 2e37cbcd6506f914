// What may stand in a plane, and what is said where FP16 does not reach.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/pipeline/group_labels.h"
#include "core/pipeline/half_range.h"
#include "core/util/errors.h"
#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

using test::expect_words;
using test::factory;
using test::message_of;

constexpr const char* kKeepSome =
    "{saliency: magnitude, threshold: {type: fixed, ratio: 0.5}, grouping: single, quantizer: prune, salient_quantizer: keep, "
    "coder: {salient_index: bitmap}}";

TEST(PlaneWriter, RefusesWhatADecoderCannotUse) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const Numerics numerics : {Numerics::kPacked, Numerics::kReference})
    for (const float bad : {inf, -inf, std::nanf("")}) {
      PlaneWriter w(numerics);
      w.set_prefix("salient_");
      expect_words(message_of<Error>([&] {
                     w.numbers("toy_scales", Role::kScale, std::vector<float>{1, bad});
                   }),
                   {"'salient_toy_scales'", "number 1 of its scales", "component"});
    }
  PlaneWriter packed(Numerics::kPacked), reference(Numerics::kReference);
  const std::vector<float> large = {70000};
  expect_words(message_of<Error>([&] { packed.numbers("toy_scales", Role::kScale, large); }),
               {"70000", "stored as inf", "FP16"});
  reference.numbers("toy_scales", Role::kScale, large);
  packed.numbers("toy_scales", Role::kScale, std::vector<float>{65504, 65519});  // rounds to 65504
  EXPECT_EQ(packed.number_planes().at("toy_scales").values.back(), 65504.0f);

  PlaneWriter w(Numerics::kPacked);
  expect_words(message_of<Error>([&] { w.symbols("toy_codes", Role::kCode, 257, {}); }), {"'toy_codes'", "alphabet of 257"});
  expect_words(message_of<Error>([&] {
                 w.symbols("toy_codes", Role::kCode, 4, {0, 4, 1});
               }),
               {"'toy_codes'", "symbol 4", "below 4"});
  w.symbols("toy_codes", Role::kCode, 256, {255});
  w.symbols("toy_codes", Role::kCode, 2, {});
}

TEST(PlaneWriter, LabelsAreNeverCutToBytes) {
  GroupMap g;
  g.shape = LabelShape::kRow;
  g.rows = 3;
  g.cols = 2;
  g.groups = 300;
  g.label = {0, 255, 256};
  const SaliencyMask none = SaliencyMask::none(3, 2);
  EXPECT_THROW(label_symbols(g, {&none, false}), Error);
  g.label = {0, 255, 17};
  EXPECT_EQ(label_symbols(g, {&none, false}), (std::vector<uint8_t>{0, 255, 17}));
  g.groups = 200;
  EXPECT_THROW(label_symbols(g, {&none, false}), Error);
}

// The lines of the log that name the test's matrix.
int64_t warnings(const PipelineFactory& f, const Matrix& w, std::string* said) {
  testing::internal::CaptureStderr();
  quantize_matrix(f, {.weights = w.view(), .id = {0, test::kMatrixName}, .seed = 1}, test::cpu());
  *said = testing::internal::GetCapturedStderr();
  int64_t n = 0;
  for (size_t at = said->find(test::kMatrixName); at != std::string::npos; at = said->find(test::kMatrixName, at + 1))
    ++n;
  return n;
}

TEST(HalfRange, OneWarningNamesTheMatrixWhereScalesDoNotFit) {
  for (const test::NamedPipeline& p : test::all_shapes_of_pipelines()) {
    SCOPED_TRACE(p.name);
    const PipelineFactory f = factory(p.yaml);
    const bool packed = f.numerics() == Numerics::kPacked;
    std::string said;
    Matrix w = test::make_random("gauss", 40, 96, 4);
    EXPECT_EQ(warnings(f, w, &said), 0) << said;
    for (int64_t i = 0; i < w.size(); ++i)
      w.data()[i] *= 1e9f;
    EXPECT_EQ(warnings(f, w, &said), packed ? 1 : 0) << said;
    if (packed) expect_words(said, {"65504"});
    for (int64_t i = 0; i < w.size(); ++i)
      w.data()[i] *= 1e-19f;  // 1e-10
    EXPECT_EQ(warnings(f, w, &said), packed ? 1 : 0) << said;
    if (packed) expect_words(said, {"40 rows", "smallest step"});
  }
}

TEST(HalfRange, CountsRowsAndNumbers) {
  const PipelineFactory f = factory("{quantizer: {type: uniform, bits: 4}}");
  Matrix w = test::make_random("gauss", 8, 16, 4);
  w(2, 5) = 1e30f;
  for (int64_t j = 0; j < 16; ++j)
    w(6, j) = j == 0 ? 1e-9f : 0;
  for (int64_t j = 0; j < 16; ++j)
    w(7, j) = 0;  // nothing is lost of nothing
  std::string said;
  EXPECT_EQ(warnings(f, w, &said), 1);
  expect_words(said, {"1 of 8 numbers of 'uniform_scales'", "1 rows hold only weights below"});
}

TEST(HalfRange, CountsKeptWeights) {
  const PipelineFactory f = factory(kKeepSome);
  Matrix w(4, 8);
  for (int64_t i = 0; i < w.size(); ++i)
    w.data()[i] = i % 2 == 0 ? 1.0f : 0x1p-30f;  // half are kept: the large ones
  std::string said;
  EXPECT_EQ(warnings(f, w, &said), 0) << said;
  for (int64_t j = 0; j < 8; ++j)
    w(1, j) = w(2, j) = w(3, j) = 0;
  EXPECT_EQ(warnings(f, w, &said), 1);
  expect_words(said, {"of 'salient_kept_weights' are zero, and 4 weights are too small"});
  w(0, 0) = 1e6f;
  EXPECT_EQ(warnings(f, w, &said), 1);
  expect_words(said, {"1 of ", "numbers of 'salient_kept_weights' stand at"});
}

TEST(HalfRange, LeavesZeroPointsAlone) {
  // PB-LLM's grids put zero points far beyond the codes.
  PlaneWriter w(Numerics::kPacked);
  w.numbers("toy_zeros", Role::kOffset, std::vector<float>{65504});
  Matrix x = Matrix::zeros(1, 1);
  x(0, 0) = 1;
  EXPECT_EQ(half_range_warning(x.view(), w, "m"), "");
  x(0, 0) = 1e6f;
  expect_words(half_range_warning(x.view(), w, "m"), {"m: 1 of 1 numbers of 'toy_zeros'"});
}

}  // namespace
}  // namespace sage
