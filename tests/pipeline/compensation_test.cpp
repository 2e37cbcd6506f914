// Matrices through the engine with a Hessian: every compensator with components that were never published together, in every
// combination of segments, moments of fitting, blocks and orders of columns.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>

#include "core/util/errors.h"
#include "tests/pipeline/calibrated.h"
#include "tests/pipeline/combinations.h"

namespace sage {
namespace {

using test::activation_scopes;
using test::Combination;
using test::combinations;
using test::components;
using test::decode;
using test::expect_words;
using test::factory;
using test::Layer;
using test::message_of;
using test::NamedPipeline;
using test::natural_scopes;
using test::pipeline;
using test::plane;
using test::same_bits;
using test::same_planes;

class Compensated : public ::testing::TestWithParam<Combination> {};
INSTANTIATE_TEST_SUITE_P(Engine, Compensated, ::testing::ValuesIn(combinations()),
                         [](const auto& info) { return std::string(info.param.parts.name) + "_" + info.param.compensator; });

TEST_P(Compensated, DecodesFromItsPlanesToWhatWasMeasured) {
  static const std::vector<Layer>& layers = *[] {
    auto* all = new std::vector<Layer>;
    for (const auto& [rows, cols] : std::vector<std::pair<int64_t, int64_t>>{{7, 1}, {5, 3}, {33, 29}, {24, 70}})
      all->emplace_back(rows, cols, static_cast<uint64_t>(rows), std::vector<int64_t>{2, 20, 21});
    return all;
  }();
  for (const std::string& scope : GetParam().scopes()) {
    const PipelineFactory f = factory(pipeline(GetParam().parts.yaml, GetParam().compensator, scope));
    for (const Layer& layer : layers) {
      SCOPED_TRACE(fmt::format("{} x {}, {}", layer.w.rows(), layer.w.cols(), scope));
      const MatrixResult r = layer.quantize(f);
      ASSERT_TRUE(same_bits(decode(f, r.packed), r.dequantized));
      double error = 0, energy = 0;
      uint64_t bytes = 0;
      for (int64_t k = 0; k < layer.w.size(); ++k) {
        error += std::pow(static_cast<double>(layer.w.data()[k]) - r.dequantized.data()[k], 2);
        energy += std::pow(static_cast<double>(layer.w.data()[k]), 2);
      }
      EXPECT_NEAR(r.relative_error, error / energy, 1e-9 + 1e-6 * r.relative_error);
      for (const StoredPlane& p : r.packed.planes) bytes += p.bytes.size();
      EXPECT_EQ(r.storage.total_bytes(), bytes);
    }
  }
}

// Two tiles of rows, so that columns are coded by several threads.
TEST_P(Compensated, GivesTheSameBytesForAnyNumberOfThreads) {
  static const Layer& layer = *new Layer(270, 70, 3, {9});
  const int threads = omp_get_max_threads();
  for (const std::string& scope : {natural_scopes()[3], natural_scopes()[9], activation_scopes()[1]}) {
    if (scope == activation_scopes()[1] && GetParam().compensator != "gptq") continue;
    const PipelineFactory f = factory(pipeline(GetParam().parts.yaml, GetParam().compensator, scope));
    omp_set_num_threads(1);
    const MatrixResult one = layer.quantize(f);
    omp_set_num_threads(2);
    const MatrixResult two = layer.quantize(f);
    omp_set_num_threads(threads);
    EXPECT_TRUE(same_planes(one.packed, two.packed)) << scope;
    EXPECT_TRUE(same_bits(one.dequantized, two.dequantized)) << scope;
  }
}

TEST_P(Compensated, RefusesDamagedPlanesOrDecodesThem) {
  static const Layer& layer = *new Layer(18, 70, 4);
  const PipelineFactory f = factory(pipeline(GetParam().parts.yaml, GetParam().compensator, GetParam().scopes().back()));
  const QuantizedMatrix good = layer.quantize(f).packed;
  Rng rng(98, "damage");
  int refused = 0;
  for (int round = 0; round < 100; ++round) {
    QuantizedMatrix bad = good;
    StoredPlane& p = bad.planes[rng.below(bad.planes.size())];
    if (p.bytes.empty()) continue;
    switch (rng.below(3)) {
      case 0: p.bytes[rng.below(p.bytes.size())] ^= static_cast<std::byte>(1u << rng.below(8)); break;
      case 1: p.bytes.resize(rng.below(p.bytes.size())); break;
      default: p.bytes.insert(p.bytes.end(), 3, static_cast<std::byte>(rng.below(256))); break;
    }
    try {
      EXPECT_EQ(decode(f, bad).size(), layer.w.size());
    } catch (const ResourceError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 15);
}

// A compensator that costs what it should bring: less error in the layer's outputs than none, most of it by GPTQ.
class CompensationEffect : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Quantizers, CompensationEffect, ::testing::Values("uniform", "residual_binary"));

TEST_P(CompensationEffect, LowersTheErrorOfTheOutputs) {
  const std::string parts = std::string(GetParam()) == "uniform" ? "quantizer: {type: uniform, bits: 3}" : "quantizer: {type: residual_binary, order: 2}";
  int block_is_better = 0, exact_is_better = 0, gptq_is_better = 0;
  constexpr int kSeeds = 8;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Layer layer(40, 96, static_cast<uint64_t>(100 + seed));
    std::map<std::string, MatrixResult> results;
    std::map<std::string, double> error;
    for (const char* compensator : {"none", "gptq", "block", "block_exact"}) {
      MatrixResult r = layer.quantize(factory(pipeline(parts, compensator, "segment_columns: 16, block_columns: 16")));
      error[compensator] = layer.output_error(r.dequantized);
      for (const auto& [name, other] : results) EXPECT_FALSE(same_bits(other.dequantized, r.dequantized)) << compensator << " and " << name << " give the same weights";
      results.emplace(compensator, std::move(r));
    }
    EXPECT_LT(error["gptq"], error["none"]) << "seed " << seed;
    EXPECT_LT(error["block_exact"], error["none"]) << "seed " << seed;
    block_is_better += error["block"] < error["none"] ? 1 : 0;  // not always: it takes no account of the other errors of a block
    exact_is_better += error["block_exact"] <= error["block"] ? 1 : 0;
    gptq_is_better += error["gptq"] <= error["block_exact"] ? 1 : 0;
  }
  EXPECT_GE(block_is_better, kSeeds - 2);
  EXPECT_GE(exact_is_better, kSeeds - 2);
  EXPECT_GE(gptq_is_better, kSeeds - 2);
}

// With E the errors handed on, W - Q = E U and (H + lambda)^-1 = U^T U: the loss reported, 1/2 ||E||^2, is half of
// tr((W - Q) (H + lambda) (W - Q)^T). It holds only where every error went where it should, in the order and, behind a
// transform, under the Gram it should.
class LossIdentity : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr double kDamping = 0.01;
  double mean_diagonal(const Layer& layer, const std::vector<double>& scale = {}) const {
    double sum = 0;
    for (int64_t j = 0; j < layer.gram.rows(); ++j) {
      const double t = scale.empty() ? 1.0 : scale[static_cast<size_t>(j)];
      sum += t * t * layer.gram(j, j);
    }
    return sum / static_cast<double>(layer.gram.rows());
  }
  static double loss_of(const Layer& layer, const PipelineFactory& f, MatrixResult& r) {
    Trace trace;
    r = layer.quantize(f, &trace);
    return trace.scalars().at("compensation.loss");
  }
  std::string compensator() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Compensators, LossIdentity, ::testing::Values("gptq", "block_exact"));

TEST_P(LossIdentity, HoldsForEveryScope) {
  const Layer layer(20, 70, 11);
  std::vector<std::string> scopes;
  for (const std::string& s : natural_scopes())
    if (s.find("block_columns: 0") == std::string::npos || compensator() == "gptq") scopes.push_back(s);
  if (compensator() == "gptq") scopes.insert(scopes.end(), activation_scopes().begin(), activation_scopes().end());
  const std::vector<double> lambda(70, kDamping * mean_diagonal(layer));
  for (const std::string& scope : scopes)
    for (const size_t parts : {size_t{0}, size_t{2}}) {
      MatrixResult r;
      const double loss = loss_of(layer, factory(pipeline(components()[parts].yaml, compensator(), scope)), r);
      const double expected = 0.5 * layer.output_error(r.dequantized, lambda);
      EXPECT_NEAR(loss, expected, 2e-4 * expected) << scope;
    }
}

TEST_P(LossIdentity, HoldsUnderARotation) {
  const Layer layer(20, 70, 12);
  const std::vector<double> lambda(70, kDamping * mean_diagonal(layer));
  for (const char* side : {"input", "output", "both"}) {
    MatrixResult r;
    const double loss = loss_of(layer, factory(pipeline(fmt::format("transform: {{type: hadamard, side: {}}}, quantizer: {{type: uniform, bits: 3}}, numerics: reference", side),
                                                        compensator(), "segment_columns: 16, block_columns: 16")), r);
    const double expected = 0.5 * layer.output_error(r.dequantized, lambda);
    EXPECT_NEAR(loss, expected, 2e-4 * expected) << side;
  }
}

// Behind W' = W / (s t^T) the Gram is t H t and rows count 1 / s^2.
TEST_P(LossIdentity, HoldsUnderScales) {
  const Layer layer(20, 70, 13);
  for (const char* mode : {"row", "rank1"}) {
    MatrixResult r;
    const double loss = loss_of(layer, factory(pipeline(fmt::format("transform: {{type: scale, mode: {}}}, quantizer: {{type: uniform, bits: 3}}, numerics: reference", mode),
                                                        compensator(), "segment_columns: 16, block_columns: 16")), r);
    const std::vector<float> s = test::numbers(r.packed, "scale_rows"), t = test::numbers(r.packed, "scale_columns");
    ASSERT_EQ(s.size(), 20u);
    ASSERT_EQ(t.size(), std::string(mode) == "row" ? 0u : 70u);
    std::vector<double> row_weight, column(70, 1.0), lambda;
    for (const float v : s) row_weight.push_back(1.0 / (static_cast<double>(v) * v));
    for (size_t j = 0; j < t.size(); ++j) column[j] = t[j];
    const double damping = kDamping * mean_diagonal(layer, column);
    for (const double v : column) lambda.push_back(damping / (v * v));
    const double expected = 0.5 * layer.output_error(r.dequantized, lambda, row_weight);
    EXPECT_NEAR(loss, expected, 2e-4 * expected) << mode;
  }
}

// The compensation of a rotated matrix with its rotated Gram beats none, as it does without the rotation.
TEST(CalibratedTransforms, AreCompensatedUnderTheirOwnGram) {
  for (const char* transform : {"{type: hadamard}", "{type: scale, mode: rank1}", "{type: scale, mode: row}"}) {
    const Layer layer(40, 96, 21);
    const std::string parts = fmt::format("transform: {}, quantizer: {{type: uniform, bits: 3}}", transform);
    const PipelineFactory f = factory(pipeline(parts, "gptq", "segment_columns: 32, block_columns: 32"));
    const MatrixResult with = layer.quantize(f), without = layer.quantize(factory(pipeline(parts, "none", "segment_columns: 32, block_columns: 32")));
    EXPECT_TRUE(same_bits(decode(f, with.packed), with.dequantized));
    EXPECT_LT(layer.output_error(with.dequantized), layer.output_error(without.dequantized)) << transform;
  }
}

TEST(CalibratedEngine, ReadsTheUpperTriangleOnly) {
  Layer layer(24, 70, 31);
  for (const char* transform : {"none", "{type: scale, mode: rank1}", "{type: hadamard}"}) {
    const PipelineFactory f = factory(pipeline(fmt::format("transform: {}, quantizer: {{type: uniform, bits: 3}}", transform), "gptq", "segment_columns: 16, block_columns: 16"));
    const MatrixResult both = layer.quantize(f);
    Matrix full = Matrix::copy(layer.gram.view());
    for (int64_t i = 0; i < 70; ++i)
      for (int64_t j = 0; j < i; ++j) layer.gram(i, j) = 0;
    layer.remake();
    const MatrixResult upper = layer.quantize(f);
    EXPECT_TRUE(same_planes(both.packed, upper.packed)) << transform;
    layer.gram = std::move(full);
    layer.remake();
  }
}

TEST(DeadColumns, AreZeroedOrKept) {
  const std::vector<int64_t> dead = {0, 17, 40, 69};
  const Layer layer(24, 70, 41, dead);
  const auto quantize = [&](const char* compensator, const char* what, const char* order) {
    const PipelineFactory f = factory(pipeline("quantizer: {type: uniform, bits: 6}", compensator,
                                               fmt::format("segment_columns: 16, block_columns: 16, dead_columns: {}, column_order: {}", what, order)));
    MatrixResult r = layer.quantize(f);
    EXPECT_TRUE(same_bits(decode(f, r.packed), r.dequantized));
    return r;
  };
  for (const auto& [compensator, order] : {std::pair("none", "natural"), {"gptq", "natural"}, {"gptq", "activation"}, {"block", "natural"}, {"block_exact", "natural"}}) {
    SCOPED_TRACE(std::string(compensator) + " " + order);
    const MatrixResult zero = quantize(compensator, "zero", order), keep = quantize(compensator, "keep", order);
    double kept = 0, energy = 0;
    for (const int64_t j : dead)
      for (int64_t i = 0; i < 24; ++i) {
        EXPECT_EQ(zero.dequantized(i, j), 0.0f) << i << "," << j;  // 0 is on every grid
        kept += std::pow(static_cast<double>(keep.dequantized(i, j)) - layer.w(i, j), 2);
        energy += std::pow(static_cast<double>(layer.w(i, j)), 2);
      }
    EXPECT_LT(kept, 0.05 * energy);
    EXPECT_GT(energy, 0);
  }
}

// Dead weights that are huge widen the grid of a segment fitted on the original weights, and of no other.
TEST(DeadColumns, CountWhereASegmentIsFittedOnOriginalWeights) {
  Layer layer(24, 64, 42, {5});
  for (int64_t i = 0; i < 24; ++i) layer.w(i, 5) = 50;
  const auto error = [&](const char* when) {
    return layer.output_error(layer.quantize(factory(pipeline("quantizer: {type: uniform, bits: 4}", "gptq",
                                                              fmt::format("segment_columns: 0, segment_weights: {}, block_columns: 16, dead_columns: zero", when)))).dequantized);
  };
  EXPECT_GT(error("original"), 20 * error("cleaned"));
  EXPECT_LT(error("compensated"), 1.001 * error("cleaned"));  // nothing was compensated before the first column
  EXPECT_GT(error("compensated"), 0.999 * error("cleaned"));
}

// Segments fitted on the way see compensated weights; those fitted before see others.
TEST(Scopes, DecideWhatIsFitted) {
  const Layer layer(24, 70, 43, {3});
  std::map<std::string, Matrix> seen;
  for (const std::string scope : {"segment_columns: 16", "segment_columns: 16, segment_weights: cleaned", "segment_columns: 16, segment_weights: original", "segment_columns: 0",
                                  "segment_columns: 8", "segment_columns: 16, salient_segment_columns: 8", "segment_columns: 16, column_order: activation",
                                  "segment_columns: 16, segment_weights: cleaned, column_order: activation",
                                  "segment_columns: 16, segment_weights: cleaned, salient_segment_weights: original"}) {
    Matrix q = layer.quantize(factory(pipeline(components()[2].yaml, "gptq", scope + ", block_columns: 16, dead_columns: zero"))).dequantized;
    for (const auto& [other, before] : seen) EXPECT_FALSE(same_bits(q, before)) << scope << " gives the weights of " << other;
    seen.emplace(scope, std::move(q));
  }
}

// Nothing moves without a compensator, so the moment a salient segment is fitted at must not decide whether it is.
TEST(Scopes, SalientWeightsFittedFirstAreStillSelectedWithoutACompensator) {
  const Layer layer(24, 70, 44);
  const std::string parts = "saliency: sigma, threshold: {type: fixed, ratio: 0.1}, quantizer: binary, salient_quantizer: {type: multibit, bits: 4}";
  for (const char* scope : {"segment_columns: 16, salient_segment_weights: original", "segment_columns: 16, salient_segment_columns: 0, salient_segment_weights: cleaned"}) {
    const PipelineFactory f = factory(pipeline(parts, "none", scope));
    const MatrixResult r = layer.quantize(f);
    EXPECT_TRUE(same_bits(decode(f, r.packed), r.dequantized)) << scope;
    EXPECT_GT(r.salient_ratio, 0.05);
  }
  const MatrixResult late = layer.quantize(factory(pipeline(parts, "none", "segment_columns: 16"))),
                     early = layer.quantize(factory(pipeline(parts, "none", "segment_columns: 16, salient_segment_weights: original")));
  EXPECT_TRUE(same_bits(late.dequantized, early.dequantized));
}

// Every scattered segment has the threshold of its own cut.
TEST(Scopes, ScatteredSegmentsKeepTheirOwnThreshold) {
  Layer layer(64, 64, 45);
  // Column j has weights of size 1 or 100 in runs of the order of work: activations fall with (37 j) mod 64.
  const auto rank = [](int64_t j) { return (37 * j) % 64; };
  layer.gram = Matrix::zeros(64, 64);
  for (int64_t j = 0; j < 64; ++j) {
    layer.gram(j, j) = static_cast<float>(100 - rank(j));
    for (int64_t i = 0; i < 64; ++i) layer.w(i, j) *= rank(j) / 16 % 2 == 0 ? 100.0f : 1.0f;
  }
  layer.remake();
  const MatrixResult r = layer.quantize(factory(pipeline("saliency: magnitude, threshold: {type: fixed, ratio: 0.1}, quantizer: binary,"
                                                         " salient_quantizer: {type: multibit, bits: 4, grid: offset}, numerics: reference",
                                                         "gptq", "column_order: activation, segment_columns: 16, block_columns: 16")));
  const std::vector<float> offset = test::numbers(r.packed, "salient_multibit_offset");
  ASSERT_EQ(offset.size(), 4u);
  for (size_t k = 0; k < 4; ++k) {
    const double size = k % 2 == 0 ? 100 : 1;
    EXPECT_GT(offset[k], 0.3 * size) << k;
    EXPECT_LT(offset[k], 10 * size) << k;
  }
}

TEST(Alternatives, AreTriedWithTheFactorOfTheirOwnOrder) {
  const Layer layer(32, 64, 46);
  const auto objectives = [&](const std::string& first, const std::string& second) {
    Trace trace;
    layer.quantize(factory(fmt::format("{{saliency: hessian, threshold: {{type: grid, points: 3, hi: 0.2, objective: lagrangian, lambda: 0.2}}, quantizer: binary, compensator: gptq,"
                                       " segment_columns: 16, block_columns: 16, alternatives: [{{column_order: {}}}, {{column_order: {}}}]}}", first, second)),
                   &trace);
    return std::pair(trace.scalars().at("alternative.0.objective"), trace.scalars().at("alternative.1.objective"));
  };
  const auto [natural, activation] = objectives("natural", "activation");
  EXPECT_NE(natural, activation);
  EXPECT_EQ(objectives("activation", "natural"), std::pair(activation, natural));
}

TEST(CalibrationErrors, NameLayerAndRemedy) {
  Layer layer(8, 12, 51);
  const PipelineFactory f = factory("{quantizer: {type: uniform, bits: 4}, compensator: gptq, segment_columns: 4, block_columns: 4}");
  const auto quantize = [&](const LayerHessian* h) { return message_of<RunError>([&] { quantize_matrix(f, {.weights = layer.w.view(), .id = {0, test::kMatrixName}, .hessian = h}, test::cpu()); }); };
  expect_words(message_of<UserError>([&] { quantize_matrix(f, {.weights = layer.w.view(), .id = {0, test::kMatrixName}}, test::cpu()); }), {test::kMatrixName, "needs the Gram", "calibration section", "--gram"});
  for (const char* parts : {"saliency: hessian, threshold: {type: fixed, ratio: 0.1}, quantizer: binary", "quantizer: binary, dead_columns: zero"}) {
    const PipelineFactory other = factory(fmt::format("{{{}}}", parts));
    expect_words(message_of<UserError>([&] { quantize_matrix(other, {.weights = layer.w.view(), .id = {0, test::kMatrixName}}, test::cpu()); }), {test::kMatrixName, "needs the Gram"});
  }
  const Layer narrow(8, 11, 52);
  expect_words(quantize(narrow.hessian.get()), {test::kMatrixName, "12 columns", "11", "expected as many", "Gram of this layer"});
  for (const auto& [row, col] : {std::pair<int64_t, int64_t>{4, 4}, {2, 7}}) {
    layer.gram = test::correlated_gram(12, 51);
    layer.gram(row, col) = std::nanf("");
    layer.remake();
    expect_words(quantize(layer.hessian.get()), {test::kLayerName, "expected"});
  }
}

// As single dead columns are: zero where dead_columns says so, else rounded as they stand. Nothing is moved between columns.
TEST(DeadLayer, IsQuantizedWithoutCompensation) {
  Layer layer(8, 12, 51);
  layer.gram = Matrix::zeros(12, 12);
  layer.remake();
  const std::string rtn = "quantizer: {type: uniform, bits: 4}, segment_columns: 4, segment_weights: original";
  const MatrixResult plain = layer.quantize(factory("{" + rtn + "}"));
  for (const char* compensator : {"gptq", "block", "block_exact"}) {
    const std::string yaml = fmt::format("{{{}, block_columns: 4, compensator: {}", rtn, compensator);
    const PipelineFactory kept = factory(yaml + ", dead_columns: keep}"), zeroed = factory(yaml + ", dead_columns: zero}");
    testing::internal::CaptureStderr();
    Trace trace;
    const MatrixResult a = layer.quantize(kept, &trace), b = layer.quantize(zeroed);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(trace.scalars().at("hessian.dead_columns"), 12);
    EXPECT_TRUE(same_bits(a.dequantized, plain.dequantized)) << compensator;
    EXPECT_TRUE(same_bits(decode(zeroed, b.packed), b.dequantized));
    const size_t first = said.find(test::kMatrixName), second = said.find(test::kMatrixName, first + 1);
    EXPECT_NE(second, std::string::npos) << said;
    EXPECT_EQ(said.find(test::kMatrixName, second + 1), std::string::npos) << said;  // once for each of the two
  }
}

TEST(CalibrationErrors, PipelinesWithoutANeedIgnoreTheGram) {
  const Layer layer(8, 12, 53), narrow(8, 11, 54);
  const PipelineFactory f = factory("{quantizer: {type: uniform, bits: 4}}");
  const MatrixResult a = layer.quantize(f), b = quantize_matrix(f, {.weights = layer.w.view(), .id = {0, test::kMatrixName}, .seed = 1, .hessian = narrow.hessian.get()}, test::cpu());
  EXPECT_TRUE(same_planes(a.packed, b.packed));
}

TEST(ScatteredSegments, AreAtMost256) {
  const std::string yaml = "{quantizer: {type: uniform, bits: 4}, compensator: gptq, column_order: activation, segment_columns: 2, block_columns: 64}";
  const PipelineFactory f = factory(yaml);
  Matrix gram = Matrix::zeros(514, 514);
  for (int64_t j = 0; j < 514; ++j) gram(j, j) = static_cast<float>(1 + (j * 151) % 514);
  const Matrix w = test::make_random("gauss", 2, 514, 1);
  const auto quantize = [&](int64_t cols) {
    Matrix part(cols, cols);
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t j = 0; j < cols; ++j) part(i, j) = gram(i, j);
    const LayerHessian hessian(part.view(), {}, test::kLayerName);
    return quantize_matrix(f, {.weights = w.view().columns(0, cols), .id = {0, test::kMatrixName}, .hessian = &hessian}, test::cpu());
  };
  const MatrixResult most = quantize(512);
  EXPECT_TRUE(same_bits(decode(f, most.packed), most.dequantized));
  expect_words(message_of<RunError>([&] { quantize(514); }), {test::kMatrixName, "257 segments of 2 columns", "at most 256", "wider segments", "segment_weights: cleaned"});
}

class SegmentPlane : public ::testing::TestWithParam<const char*> {
 protected:
  SegmentPlane()
      : f_(factory(pipeline(fmt::format("quantizer: {{type: uniform, bits: 4}}, coder: {{group_index: {}}}", GetParam()), "gptq",
                            "column_order: activation, segment_columns: 24, block_columns: 24"))),
        layer_(10, 70, 61), good_(layer_.quantize(f_).packed) {}
  // Decodes with other bytes for the plane; false if they are refused.
  bool accepts(const std::vector<std::byte>& bytes, Matrix* out = nullptr) const {
    QuantizedMatrix bad = good_;
    for (StoredPlane& p : bad.planes)
      if (p.name == "column_segments") p.bytes = bytes;
    try {
      Matrix m = decode(f_, bad);
      EXPECT_EQ(m.size(), layer_.w.size());
      if (out != nullptr) *out = std::move(m);
      return true;
    } catch (const ResourceError& e) {
      expect_words(e.what(), {test::kMatrixName, "expected"});
      return false;
    }
  }
  PipelineFactory f_;
  Layer layer_;
  QuantizedMatrix good_;
};
INSTANTIATE_TEST_SUITE_P(Coders, SegmentPlane, ::testing::Values("raw", "range"));

TEST_P(SegmentPlane, HoldsTheSegmentOfEveryColumn) {
  const StoredPlane* p = plane(good_, "column_segments");
  ASSERT_NE(p, nullptr);
  EXPECT_EQ(p->role, Role::kGroupIndex);
  EXPECT_TRUE(accepts(p->bytes));
  const PipelineFactory natural = factory("{quantizer: {type: uniform, bits: 4}, compensator: gptq, segment_columns: 24, block_columns: 24}");
  EXPECT_EQ(plane(layer_.quantize(natural).packed, "column_segments"), nullptr);
}

TEST_P(SegmentPlane, DamagedIsRefused) {
  const std::vector<std::byte> good = plane(good_, "column_segments")->bytes;
  for (size_t bytes = 0; bytes < good.size(); ++bytes) EXPECT_FALSE(accepts({good.begin(), good.begin() + static_cast<std::ptrdiff_t>(bytes)})) << bytes;
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(accepts(longer));
  int refused = 0;
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::vector<std::byte> bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
    refused += accepts(bad) ? 0 : 1;
  }
  // One wrong id gives a segment another size; of range-coded ids some damage turns out as another permutation.
  EXPECT_GE(refused, static_cast<int>((std::string(GetParam()) == "raw" ? 8 : 6) * good.size()));
  QuantizedMatrix without = good_;
  std::erase_if(without.planes, [](const StoredPlane& p) { return p.name == "column_segments"; });
  EXPECT_THROW(decode(f_, without), ResourceError);
}

// Ids that another matrix could have had: decoded, to other weights.
TEST_P(SegmentPlane, AnotherPermutationDecodesToOtherWeights) {
  const Layer other(10, 70, 62);
  const std::vector<std::byte> ids = plane(other.quantize(f_).packed, "column_segments")->bytes;
  if (ids == plane(good_, "column_segments")->bytes) GTEST_SKIP() << "both layers have the same order";
  Matrix m;
  ASSERT_TRUE(accepts(ids, &m));
  EXPECT_FALSE(same_bits(m, decode(f_, good_)));
}

}  // namespace
}  // namespace sage
