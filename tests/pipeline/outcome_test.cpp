// What is kept of a matrix beyond its error and bits, against plain sums.
#include <gtest/gtest.h>
#include <omp.h>

#include <nlohmann/json.hpp>

#include "core/pipeline/gram_loss.h"
#include "core/pipeline/model_folder.h"
#include "core/util/errors.h"
#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

using test::cpu;
using test::factory;
using test::Layer;

// tr(E H E^T) / tr(W H W^T) in double, every entry of H from its upper triangle.
double by_hand(const Layer& layer, const Matrix& decoded) {
  double lost = 0, whole = 0;
  const auto h = [&](int64_t j, int64_t k) { return static_cast<double>(j <= k ? layer.gram(j, k) : layer.gram(k, j)); };
  for (int64_t i = 0; i < layer.w.rows(); ++i)
    for (int64_t j = 0; j < layer.w.cols(); ++j)
      for (int64_t k = 0; k < layer.w.cols(); ++k) {
        const auto error = [&](int64_t c) { return static_cast<double>(layer.w(i, c)) - decoded(i, c); };
        lost += error(j) * h(j, k) * error(k);
        whole += static_cast<double>(layer.w(i, j)) * h(j, k) * layer.w(i, k);
      }
  return lost / whole;
}

TEST(GramLoss, IsTheQuotientOfTraces) {
  // Below, at and beyond the width of a panel.
  for (const auto& [rows, cols] :
       std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 2}, {7, 37}, {5, 256}, {4, 257}, {3, 600}}) {
    SCOPED_TRACE(fmt::format("{} x {}", rows, cols));
    const Layer layer(rows, cols, static_cast<uint64_t>(cols));
    Matrix decoded = Matrix::copy(layer.w.view());
    Rng rng(5, "errors");
    for (int64_t k = 0; k < decoded.size(); ++k)
      decoded.data()[k] += static_cast<float>(0.1 * rng.normal());
    const double expected = by_hand(layer, decoded);
    // The triangle below the diagonal is not read.
    Matrix upper = Matrix::copy(layer.gram.view());
    for (int64_t i = 0; i < cols; ++i)
      for (int64_t j = 0; j < i; ++j)
        upper(i, j) = std::numeric_limits<float>::quiet_NaN();
    const std::optional<double> found = gram_loss(layer.w.view(), decoded.view(), upper.view(), cpu());
    ASSERT_TRUE(found);
    EXPECT_NEAR(*found, expected, 2e-5 * expected);
    // No error, no loss; and no weights, all is lost.
    EXPECT_EQ(gram_loss(layer.w.view(), layer.w.view(), upper.view(), cpu()), 0.0);
    EXPECT_EQ(gram_loss(layer.w.view(), Matrix::zeros(rows, cols).view(), upper.view(), cpu()), 1.0);
  }
}

TEST(GramLoss, OfALayerThatPutsNothingOutThereIsNone) {
  const Layer layer(3, 8, 1);
  const Matrix zero = Matrix::zeros(3, 8), no_inputs = Matrix::zeros(8, 8);
  EXPECT_EQ(gram_loss(zero.view(), zero.view(), layer.gram.view(), cpu()), std::nullopt);
  EXPECT_EQ(gram_loss(layer.w.view(), zero.view(), no_inputs.view(), cpu()), std::nullopt);
}

TEST(GramLoss, DoesNotDependOnThreads) {
  const Layer layer(130, 300, 2);
  Matrix decoded = Matrix::copy(layer.w.view());
  for (int64_t k = 0; k < decoded.size(); k += 3)
    decoded.data()[k] *= 0.9f;
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);
  const std::optional<double> one = gram_loss(layer.w.view(), decoded.view(), layer.gram.view(), cpu());
  omp_set_num_threads(3);
  const std::optional<double> three = gram_loss(layer.w.view(), decoded.view(), layer.gram.view(), cpu());
  omp_set_num_threads(threads);
  EXPECT_EQ(one, three);
}

// Compensated or not, transformed, in another order of columns: the loss is that of the weights a decoder gives.
TEST(Outcome, OfEveryKindOfPipeline) {
  const Layer layer(24, 70, 11, {2, 40, 41});
  for (const char* pipeline :
       {"{quantizer: {type: uniform, bits: 3}}", "{quantizer: {type: uniform, bits: 3}, compensator: gptq, block_columns: 32}",
        "{quantizer: {type: uniform, bits: 3}, compensator: gptq, block_columns: 32, column_order: activation, dead_columns: "
        "zero}",
        "{transform: {type: scale, mode: rank1}, quantizer: {type: uniform, bits: 3}, compensator: gptq, block_columns: 32}",
        "{saliency: {type: hessian}, threshold: {type: fixed, ratio: 0.1}, quantizer: binary, salient_quantizer: multibit}"}) {
    SCOPED_TRACE(pipeline);
    const PipelineFactory f = factory(pipeline);
    const MatrixResult r = layer.quantize(f);
    ASSERT_TRUE(r.outcome.gram_loss);
    const double expected = by_hand(layer, r.dequantized);
    EXPECT_NEAR(*r.outcome.gram_loss, expected, 1e-4 * expected);
    EXPECT_GT(expected, 0);
    // Damping is of pipelines that factor the Gram.
    EXPECT_EQ(r.outcome.percdamp.has_value(), f.needs_calibration());
    EXPECT_EQ(r.outcome.dead_columns, f.needs_calibration() ? std::optional<int64_t>(3) : std::nullopt);
    EXPECT_EQ(r.outcome.damping_retries, f.needs_calibration() ? std::optional<int64_t>(0) : std::nullopt);
    EXPECT_EQ(r.outcome.percdamp.value_or(layer.options.percdamp), layer.options.percdamp);
    EXPECT_EQ(r.outcome.threshold_cut.has_value(), std::string(pipeline).find("saliency") != std::string::npos);
    EXPECT_EQ(r.outcome.threshold_cut.value_or(0.1), 0.1);
  }
}

TEST(Outcome, CountsRetriesAndTheDampingThatWasEnough) {
  Layer layer(6, 12, 3);
  for (int64_t j = 0; j < 12; ++j)  // twice the same input, the second with a sign that no damping below 1 forgives
    for (int64_t k = 0; k < 12; ++k)
      layer.gram(j, k) = j == k ? 1.0f : 0.0f;
  layer.gram(0, 1) = layer.gram(1, 0) = 1.05f;
  layer.options.percdamp = 0.01;
  layer.remake();
  const MatrixResult r = layer.quantize(factory("{quantizer: {type: uniform, bits: 3}, compensator: gptq}"));
  EXPECT_EQ(r.outcome.damping_retries, std::optional<int64_t>(1));
  EXPECT_EQ(r.outcome.percdamp, std::optional<double>(0.1));
}

TEST(Outcome, TheCutOfSeveralSegmentsIsTheirMean) {
  Trace trace;
  trace.scalar("threshold.cut", 0.01);
  trace.scalar("threshold.cut@128", 0.02);
  trace.scalar("threshold.cut@256", 0.06);
  trace.scalar("threshold.cuts", 9);
  trace.scalar("hessian.dead_columns", 4);
  MatrixOutcome expected;
  expected.threshold_cut = 0.03;
  expected.dead_columns = 4;
  const MatrixOutcome found = outcome_of(trace);
  EXPECT_NEAR(*found.threshold_cut, 0.03, 1e-15);
  expected.threshold_cut = found.threshold_cut;
  EXPECT_EQ(found, expected);
  EXPECT_EQ(outcome_of(Trace()), MatrixOutcome());
}

// A without: no Gram is at hand.
TEST(Outcome, WithoutAGramThereIsNoLoss) {
  const Layer layer(8, 16, 4);
  const MatrixResult r =
      quantize_matrix(factory("{quantizer: {type: uniform, bits: 3}}"), {.weights = layer.w.view(), .id = {0, "w"}}, cpu());
  EXPECT_EQ(r.outcome, MatrixOutcome());
}

TEST(Outcome, TheReportKeepsWhatThereIs) {
  MatrixReport m;
  m.name = "w";
  m.outcome.gram_loss = 0.125;
  m.outcome.damping_retries = 2;
  nlohmann::json j = write_matrix_report(m);
  EXPECT_FALSE(j.contains("percdamp"));
  MatrixReport back;
  read_matrix_report(j, back);
  EXPECT_EQ(back.outcome, m.outcome);
  j["gram_loss"] = "much";
  EXPECT_THROW(read_matrix_report(j, back), ResourceError);
  for (const char* gone : {"gram_loss", "damping_retries"})
    j.erase(gone);  // written by an earlier version
  MatrixReport old;
  read_matrix_report(j, old);
  EXPECT_EQ(old.outcome, MatrixOutcome());
}

}  // namespace
}  // namespace sage
