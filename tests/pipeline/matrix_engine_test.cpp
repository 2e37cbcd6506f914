// One matrix through the engine: what is decoded from the stored planes is what was measured, whatever the pipeline.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>

#include "core/pipeline/plane_store.h"
#include "core/util/errors.h"
#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

using test::decode;
using test::factory;
using test::NamedPipeline;
using test::same_bits;
using test::same_planes;

MatrixResult quantize(const PipelineFactory& f, WeightView w, uint64_t seed = 1) {
  return quantize_matrix(f, {w, {0, test::kMatrixName}, seed, nullptr, nullptr}, test::cpu());
}
double d_of(WeightView w, const Matrix& q) {
  double e = 0, n = 0;
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j) {
      e += std::pow(static_cast<double>(w(i, j)) - q(i, j), 2);
      n += std::pow(static_cast<double>(w(i, j)), 2);
    }
  return e / n;
}

class EveryPipeline : public ::testing::TestWithParam<NamedPipeline> {};

TEST_P(EveryPipeline, DecodesFromItsPlanesToWhatWasMeasured) {
  const PipelineFactory f = factory(GetParam().yaml);
  const std::pair<int64_t, int64_t> shapes[] = {{1, 1}, {1, 200}, {200, 1}, {33, 65}, {64, 192}, {96, 131}};
  for (const auto& [rows, cols] : shapes) {
    SCOPED_TRACE(fmt::format("{} x {}", rows, cols));
    const Matrix w = test::make_random("t10+s", rows, cols, 7);
    const MatrixResult r = quantize(f, w.view());
    EXPECT_TRUE(same_bits(decode(f, r.packed), r.dequantized));
    EXPECT_NEAR(r.relative_error, d_of(w.view(), r.dequantized), 1e-9 + 1e-6 * r.relative_error);
    uint64_t bytes = 0;
    for (const StoredPlane& p : r.packed.planes) bytes += p.bytes.size();
    EXPECT_EQ(r.storage.total_bytes(), bytes);
  }
}

TEST_P(EveryPipeline, GivesTheSameBytesForAnyNumberOfThreads) {
  const PipelineFactory f = factory(GetParam().yaml);
  const Matrix w = test::make_random("t5", 200, 301, 3);
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const MatrixResult one = quantize(f, w.view());
  omp_set_num_threads(2);
  const MatrixResult two = quantize(f, w.view());
  omp_set_num_threads(3);
  const MatrixResult three = quantize(f, w.view());
  omp_set_num_threads(threads);
  EXPECT_TRUE(same_planes(one.packed, two.packed));
  EXPECT_TRUE(same_planes(one.packed, three.packed));
  EXPECT_TRUE(same_bits(one.dequantized, three.dequantized));
}

TEST_P(EveryPipeline, DoesNotBeatTheRateDistortionBound) {
  // D(R) of a Gaussian source: no code with R stored bits per weight gets below 2^(-2R).
  const Matrix w = test::make_random("gauss", 512, 512, 5);
  const MatrixResult r = quantize(factory(GetParam().yaml), w.view());
  EXPECT_GE(r.relative_error, std::pow(2.0, -2 * r.storage.stored_bits()));
  EXPECT_GT(r.storage.stored_bits(), 0.9);
  EXPECT_LT(r.relative_error, 0.5);
}

TEST_P(EveryPipeline, RefusesDamagedPlanesOrDecodesThem) {
  const PipelineFactory f = factory(GetParam().yaml);
  const Matrix w = test::make_random("gauss", 40, 70, 11);
  const QuantizedMatrix good = quantize(f, w.view()).packed;
  Rng rng(99, "damage");
  int refused = 0;
  for (int round = 0; round < 300; ++round) {
    QuantizedMatrix bad = good;
    StoredPlane& p = bad.planes[rng.below(bad.planes.size())];
    if (p.bytes.empty()) continue;
    switch (rng.below(3)) {
      case 0: p.bytes[rng.below(p.bytes.size())] ^= static_cast<std::byte>(1u << rng.below(8)); break;
      case 1: p.bytes.resize(rng.below(p.bytes.size())); break;
      default: p.bytes.insert(p.bytes.end(), 3, static_cast<std::byte>(rng.below(256))); break;
    }
    try {
      EXPECT_EQ(decode(f, bad).size(), w.size());
    } catch (const ResourceError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 50);
}

INSTANTIATE_TEST_SUITE_P(Shapes, EveryPipeline, ::testing::ValuesIn(test::all_shapes_of_pipelines()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(MatrixEngine, PaperBitsAreTheFormulaOfThePaper) {
  // r = 1 %, b = 4, K scalars and one scale per row of 4096: 1 + r (b - 1) = 1.03 and 16 (m + K) / (m n).
  const Matrix w = test::make_random("gauss", 64, 4096, 2);
  const MatrixResult r = quantize(factory("{saliency: sigma, threshold: {type: cap, bits: 1.03}, grouping: {type: kmeans, groups: 2}, quantizer: binary, salient_quantizer:"
                                          " {type: multibit, bits: 4}, coder: {salient_index: csr}}"),
                                  w.view());
  EXPECT_NEAR(r.storage.paper_weight_bits, 1.03, 1e-4);
  EXPECT_NEAR(r.storage.paper_scaling_bits, 16.0 * (64 + 2) / (64.0 * 4096), 1e-6);
  EXPECT_NEAR(r.salient_ratio, 0.01, 1e-5);
  // What the paper leaves out is in the file: group ids (1 bit) and the positions (12 bits each).
  EXPECT_GT(r.storage.stored_bits(), 2.1);
}

TEST(MatrixEngine, StoredBitsAreAtLeastTheEntropyOfWhatIsStored) {
  const Matrix w = test::make_random("t5", 256, 512, 4);
  for (const char* coder : {"raw", "range"}) {
    const MatrixResult r = quantize(factory(fmt::format("{{saliency: sigma, threshold: {{type: fixed, ratio: 0.02}}, grouping: {{type: kmeans, groups: 4}}, quantizer: binary,"
                                                        " salient_quantizer: {{type: multibit, bits: 4}}, coder: {{salient_index: {}, group_index: {}}}}}",
                                                        std::string(coder) == "raw" ? "csr" : "range", coder)),
                                    w.view());
    const double p = r.salient_ratio, h2 = -p * std::log2(p) - (1 - p) * std::log2(1 - p);
    EXPECT_GE(r.storage.stored_bits(), 1 + h2 + 3 * p + 0.5);
  }
}

TEST(MatrixEngine, ScalingTheMatrixLeavesTheError) {
  const Matrix w = test::make_random("t7", 128, 256, 6);
  Matrix scaled = Matrix::copy(w.view());
  for (int64_t i = 0; i < scaled.size(); ++i) scaled.data()[i] *= 4;  // a power of two: every rounding is the same
  const PipelineFactory f = factory(test::kSage);
  const MatrixResult a = quantize(f, w.view()), b = quantize(f, scaled.view());
  EXPECT_NEAR(a.relative_error, b.relative_error, 1e-12);
  for (int64_t i = 0; i < w.size(); ++i) ASSERT_EQ(4 * a.dequantized.data()[i], b.dequantized.data()[i]);
}

TEST(MatrixEngine, RefusesWeightsThatAreNotFinite) {
  Matrix w = test::make_random("gauss", 8, 8, 1);
  w(3, 4) = std::nanf("");
  try {
    quantize(factory(test::kSage), w.view());
    FAIL() << "a NaN was accepted";
  } catch (const RunError& e) {
    EXPECT_NE(std::string(e.what()).find("model.layers.0.test.weight"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("weight (3, 4) is NaN, one of 1"), std::string::npos);
  }
}

TEST(MatrixEngine, TakesConstantAndZeroMatrices) {
  for (float value : {0.0f, 1.0f, -2.5f}) {
    Matrix w(17, 70);
    for (int64_t i = 0; i < w.size(); ++i) w.data()[i] = value;
    for (const NamedPipeline& p : test::all_shapes_of_pipelines()) {
      SCOPED_TRACE(p.name);
      const PipelineFactory f = factory(p.yaml);
      const MatrixResult r = quantize(f, w.view());
      EXPECT_TRUE(same_bits(decode(f, r.packed), r.dequantized));
      EXPECT_TRUE(std::isfinite(r.relative_error));
      EXPECT_LT(r.relative_error, 1.01);
    }
  }
}

// A Gram of correlated inputs, upper triangle.
Matrix correlated_gram(int64_t cols) {
  Matrix x = test::make_random("gauss", 3 * cols, cols, 5), h = Matrix::zeros(cols, cols);
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t j = 1; j < cols; ++j) x(t, j) += 0.8f * x(t, j - 1);
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t j = i; j < cols; ++j) h(i, j) += x(t, i) * x(t, j);
  }
  return h;
}

// Every registered component, swapped into SAGE-PTQ for its neighbour, changes what is stored: none is a bystander.
TEST(Effect, EveryComponentChangesTheResult) {
  Matrix w = test::make_random("t10+s", 96, 160, 8);
  for (int64_t i = 0; i < w.size(); ++i) w.data()[i] += 0.4f;  // a mean, so that centering matters
  const Matrix gram = correlated_gram(160);
  const LayerHessian hessian(gram.view(), {}, "test");
  static const std::unique_ptr<Backend> backend = make_backend("cpu");
  const auto with = [&](const std::vector<std::pair<std::string, std::string>>& blocks) {
    Value v = parse_yaml(test::kSage, "test");
    for (const auto& [slot, block] : blocks) v.set(slot, parse_yaml(block, "test"));
    return canonical_pipeline(v, test::registries());
  };
  const std::map<std::string, std::string> slot_of = {{"saliency", "saliency"},   {"grouping", "grouping"},   {"quantizer", "quantizer"},
                                                      {"threshold", "threshold"}, {"transform", "transform"}, {"compensator", "compensator"}};
  for (const auto& [kind, slot] : slot_of) {
    std::map<std::string, std::vector<std::byte>> seen;
    for (const ComponentInfo& c : test::registries().all()) {
      if (c.kind != kind) continue;
      SCOPED_TRACE(c.kind + " " + c.name);
      std::string block = fmt::format("{{type: {}}}", c.name);
      if (c.kind == "threshold" && c.name == "fixed") block = "{type: fixed, ratio: 0.02}";
      if (c.kind == "threshold" && (c.name == "grid" || c.name == "brent")) block = fmt::format("{{type: {}, points: 4, hi: 0.2, objective: lagrangian, lambda: 0.2}}", c.name);  // an optimum inside; brent looks between the points
      if (c.kind == "grouping" && c.name == "fixed") block = "{type: fixed, cuts: [0.5, 1.0]}";
      std::vector<std::pair<std::string, std::string>> blocks = {{slot, block}};
      if (kind == "grouping") blocks.push_back({"saliency", "{type: magnitude}"});  // some split the scores
      if (c.name == "column_count") blocks[0].second = "{type: column_count, columns: 11}";
      if (c.name == "column_search" || c.name == "column_count") blocks.push_back({"saliency", "{type: columns}"});
      if (c.name == "percentile") blocks.push_back({"saliency", "{type: magnitude}"});
      if (kind == "compensator") blocks.push_back({"segment_columns", "32"});
      const PipelineFactory f(with(blocks), test::registries());
      const MatrixResult r = quantize_matrix(f, {.weights = w.view(), .id = {0, "model.layers.0.test.weight"}, .seed = 1, .hessian = &hessian}, *backend);
      EXPECT_TRUE(same_bits(decode(f, r.packed), r.dequantized));
      std::vector<std::byte> bytes;
      for (int64_t i = 0; i < r.dequantized.size(); ++i) {
        const auto* p = reinterpret_cast<const std::byte*>(r.dequantized.data() + i);
        bytes.insert(bytes.end(), p, p + 4);
      }
      for (const auto& [other, previous] : seen) EXPECT_TRUE(bytes != previous) << "same weights as " << other;
      seen[c.name] = std::move(bytes);
    }
    EXPECT_GE(seen.size(), 2u) << kind;
  }
}

}  // namespace
}  // namespace sage
