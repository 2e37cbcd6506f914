// What planning promises: a trial on all rows costs what the file costs, the alternative kept is the best by the files of all, a
// budget holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/pipeline/alternatives.h"
#include "core/pipeline/plane_store.h"
#include "tests/pipeline/calibrated.h"
#include "tests/pipeline/combinations.h"

namespace sage {
namespace {

using test::factory;
using test::NamedPipeline;

MatrixJob job_of(WeightView w) { return {.weights = w, .id = {0, test::kMatrixName}, .seed = 1}; }

PipelineFactory factory_of(const Value& pipeline) { return PipelineFactory(canonical_pipeline(pipeline, test::registries()), test::registries()); }

// A pipeline as YAML, with more keys.
Value with(const std::string& yaml, const std::vector<std::pair<std::string, std::string>>& more) {
  Value v = parse_yaml(yaml, "test");
  expand_bare_names(v);
  for (const auto& [key, text] : more) set_path(v, key, parse_yaml(text, "test"));
  return v;
}

// One factory for each alternative of a pipeline: what each would give alone.
std::vector<PipelineFactory> alone(const Value& pipeline) {
  std::vector<PipelineFactory> out;
  for (const Value& v : pipeline_variants(canonical_pipeline(pipeline, test::registries()))) out.push_back(factory_of(v));
  return out;
}

double file_bits(const MatrixResult& r) { return 8.0 * static_cast<double>(r.storage.total_bytes()); }

struct Coders {
  const char* symbols;
  const char* positions;
};
void PrintTo(const Coders& c, std::ostream* out) { *out << c.symbols << "_" << c.positions; }

class EveryCoder : public ::testing::TestWithParam<Coders> {
 protected:
  static Value coded(const std::string& yaml) {
    const std::string s = GetParam().symbols;
    return with(yaml, {{"trial_weights", "0"}, {"coder.signs", s}, {"coder.codes", s}, {"coder.group_index", s}, {"coder.salient_index", GetParam().positions}});
  }
  // The trial of one pipeline on all rows against its file, in bits.
  static void expect_priced(const PipelineFactory& f, const MatrixJob& job) {
    const MatrixResult r = quantize_matrix(f, job, test::cpu());
    const TrialResult trial = score_alternatives(f, job, test::cpu()).front().result;
    const double n = static_cast<double>(job.weights.size());
    EXPECT_NEAR(trial.stored_bits * n, file_bits(r), 0.01 * file_bits(r) + 64 * 8);
    EXPECT_NEAR(trial.paper_bits, r.storage.paper_bits(), 1e-9);
    const Pipeline p = f.make(0);
    if (p.transform->is_identity() && !p.zero_dead_columns) {
      EXPECT_NEAR(trial.relative_error, r.relative_error, 1e-6 + 1e-4 * r.relative_error);
    }
  }
};

TEST_P(EveryCoder, PricesATrialOnAllRowsAsTheFile) {
  for (const char* kind : {"gauss", "t10+s"}) {
    Matrix w = test::make_random(kind, 96, 261, 5);
    if (kind[0] == 'g')
      for (int64_t i = 0; i < w.size(); ++i) w.data()[i] += 0.7f;  // signs that are not even
    for (const NamedPipeline& shape : test::all_shapes_of_pipelines()) {
      int a = 0;
      for (const PipelineFactory& f : alone(coded(shape.yaml))) {
        SCOPED_TRACE(fmt::format("{} {} alternative {}", kind, shape.name, a++));
        expect_priced(f, job_of(w.view()));
      }
    }
  }
}

TEST_P(EveryCoder, PricesSegmentsOfEveryScopeAsTheFile) {
  const test::Layer layer(56, 83, 9, {3, 40});
  MatrixJob job = job_of(layer.w.view());
  job.hessian = layer.hessian.get();
  for (const NamedPipeline& parts : test::components())
    for (const std::string& scope : test::natural_scopes()) {
      SCOPED_TRACE(fmt::format("{} {}", parts.name, scope));
      expect_priced(factory_of(coded(test::pipeline(parts.yaml, "none", scope))), job);
    }
}

// Signs, codes and zero points of one bit each have an alphabet of two: which coder writes them follows from their role.
TEST(Planner, PricesPlanesByTheirRole) {
  Matrix w = test::make_random("t5", 96, 261, 5);
  for (int64_t i = 0; i < w.size(); ++i) w.data()[i] = w.data()[i] * std::abs(w.data()[i]) + 0.3f;  // skewed: far from one bit when entropy coded
  for (const char* coders : {"{codes: range, signs: raw}", "{codes: raw, signs: range}"})
    for (const char* quantizer : {"{type: uniform, bits: 1}", "{type: uniform, bits: 2, group_size: 16}", "{type: binary}", "{type: pb_binary, keep_zero: true}"}) {
      SCOPED_TRACE(fmt::format("{} {}", coders, quantizer));
      const PipelineFactory f = factory(fmt::format("{{quantizer: {}, coder: {}}}", quantizer, coders));
      const MatrixResult r = quantize_matrix(f, job_of(w.view()), test::cpu());
      EXPECT_NEAR(score_alternatives(f, job_of(w.view()), test::cpu()).front().result.stored_bits * static_cast<double>(w.size()), file_bits(r), 0.01 * file_bits(r) + 64 * 8);
    }
}

// Compensation moves weights after they were planned; how many of each kind there are it leaves.
TEST(Planner, PricesSegmentsInTheOrderOfWork) {
  const test::Layer layer(56, 83, 9);
  MatrixJob job = job_of(layer.w.view());
  job.hessian = layer.hessian.get();
  for (const char* parts : {"quantizer: {type: uniform, bits: 3}", "saliency: magnitude, threshold: {type: fixed, ratio: 0.1}, quantizer: {type: binary, scale: row}, salient_quantizer: multibit"})
    for (const std::string& scope : test::activation_scopes()) {
      SCOPED_TRACE(fmt::format("{} {}", parts, scope));
      const PipelineFactory f = factory(test::pipeline(parts, "gptq", scope));
      const MatrixResult r = quantize_matrix(f, job, test::cpu());
      EXPECT_NEAR(score_alternatives(f, job, test::cpu()).front().result.stored_bits * static_cast<double>(job.weights.size()), file_bits(r), 0.01 * file_bits(r) + 64 * 8);
    }
}

INSTANTIATE_TEST_SUITE_P(Coders, EveryCoder, ::testing::Values(Coders{"raw", "csr"}, Coders{"raw", "bitmap"}, Coders{"range", "delta8"}, Coders{"range", "range"}),
                         ::testing::PrintToStringParamName());

// A sample of the rows stands for all of them: what is stored once is not paid by the sample alone.
TEST(Planner, PricesASampleOfRowsAsAllRows) {
  const Matrix w = test::make_random("gauss", 1024, 128, 3);
  const MatrixJob job = job_of(w.view());
  for (const char* yaml :
       {"{quantizer: {type: binary, scale: rank1}}", "{quantizer: {type: binary, scale: row}, transform: scale, coder: {signs: range}}",
        "{quantizer: {type: binary, scale: row_group}, grouping: {type: kmeans, groups: 3}, coder: {group_index: range}}",
        "{quantizer: {type: binary, scale: group, mean_shift: true}, grouping: {type: positional, unit: columns, block: 2, groups: 64}}",
        "{quantizer: binary, saliency: columns, threshold: {type: fixed, ratio: 0.1}, salient_quantizer: {type: multibit, bits: 4, grid: offset}, coder: {salient_index: range, codes: range}}",
        "{quantizer: binary, saliency: sigma, threshold: {type: fixed, ratio: 0.05}, salient_quantizer: {type: multibit, bits: 3}, coder: {salient_index: range, codes: range}}",
        "{quantizer: {type: uniform, bits: 2, group_size: 32}, coder: {codes: range}}"}) {
    SCOPED_TRACE(yaml);
    const PipelineFactory all = factory_of(with(yaml, {}));
    // With one saliency for all alternatives, trial_weights is kept.
    const PipelineFactory few = factory_of(with(yaml, {{"trial_weights", "8192"}, {"alternatives", "[{}, {block_columns: 1}]"}}));
    const TrialResult whole = score_alternatives(all, job, test::cpu()).front().result, sample = score_alternatives(few, job, test::cpu()).front().result;
    ASSERT_NE(whole.relative_error, sample.relative_error) << "no sample was taken";
    EXPECT_NEAR(sample.stored_bits, whole.stored_bits, 0.03 * whole.stored_bits + 64 * 8.0 / static_cast<double>(w.size()));
    EXPECT_NEAR(sample.paper_bits, whole.paper_bits, 0.02 * whole.paper_bits);
  }
}

// Alternatives that differ in everything an alternative may: where weights of one have less error for the same bits, or fewer bits
// for the same error, only a price for all that is stored finds it.
const std::vector<NamedPipeline>& choices() {
  static const std::vector<NamedPipeline> all = {
      {"segments", "{quantizer: {type: uniform, bits: 3}, alternatives: [{segment_columns: 0}, {segment_columns: 32}, {segment_columns: 8}]}"},
      {"row_group_segments", "{quantizer: {type: binary, scale: row_group}, grouping: {type: kmeans, groups: 2}, coder: {group_index: range},"
                             " alternatives: [{segment_columns: 0}, {segment_columns: 32}, {segment_columns: 4}, {grouping: single}]}"},
      {"one_bit_codes", "{quantizer: {type: uniform, bits: 1, mse: true}, coder: {codes: range, signs: raw}, alternatives: [{quantizer: binary}, {quantizer: {type: uniform, bits: 1}}]}"},
      {"groups", "{saliency: sigma, threshold: {type: fixed, ratio: 0.02}, quantizer: binary, salient_quantizer: {type: multibit, bits: 4}, coder: {salient_index: range, group_index: raw, codes: range},"
                 " alternatives: {list: [{grouping: {type: kmeans, groups: 2}}, {grouping: {type: kmeans, groups: 3}}, {grouping: {type: kmeans, groups: 5}}, {grouping: single}],"
                 " grid: {salient_quantizer.bits: [2, 5]}}}"},
      {"scales", "{saliency: none, quantizer: {type: binary, scale: rank1}, alternatives: [{quantizer.scale: group}, {quantizer.scale: row}, {quantizer.scale: rank1}]}"},
      {"salience", "{quantizer: binary, threshold: {type: fixed, ratio: 0.05}, salient_quantizer: {type: multibit, bits: 3, grid: offset}, coder: {salient_index: range, codes: range},"
                   " alternatives: [{saliency: none}, {saliency: sigma}, {saliency: columns}, {saliency: magnitude, coder.salient_index: bitmap}]}"},
      {"transforms", "{quantizer: {type: binary, scale: group}, grouping: {type: kmeans, groups: 4}, alternatives: [{transform: none}, {transform: scale}, {transform: hadamard},"
                     " {transform: {type: scale, mode: row}}]}"},
      {"widths", "{quantizer: {type: uniform, bits: 2}, alternatives: [{quantizer.bits: 2}, {quantizer.bits: 3}, {quantizer: {type: uniform, bits: 4, group_size: 16}}, {quantizer: keep}]}"},
  };
  return all;
}

class EveryChoice : public ::testing::TestWithParam<NamedPipeline> {};

TEST_P(EveryChoice, IsTheBestByTheFilesOfAll) {
  int differ = 0;
  for (const char* objective : {"objective: rate_distortion", "objective: lagrangian, lambda: 0.05, lambda_bits: stored", "objective: lagrangian, lambda: 0.02, lambda_bits: paper"})
    for (const char* kind : {"gauss", "t10+s"}) {
      SCOPED_TRACE(fmt::format("{} {}", objective, kind));
      const Matrix w = test::make_random(kind, 160, 192, 13);
      Value pipeline = with(GetParam().yaml, {});
      if (pipeline.find("threshold") == nullptr) pipeline.set("threshold", parse_yaml("{type: fixed}", "test"));
      const Value parts = parse_yaml(fmt::format("{{{}}}", objective), "test");
      for (const auto& [key, value] : parts.members()) pipeline.find("threshold")->set(key, value);
      const PipelineFactory all = factory_of(pipeline);  // one alternative alone forgets a threshold that cuts nothing
      std::vector<double> values, slacks;
      for (const PipelineFactory& f : alone(pipeline)) {
        const MatrixResult r = quantize_matrix(f, job_of(w.view()), test::cpu());
        const TrialResult own{r.relative_error, r.storage.paper_bits(), r.storage.stored_bits()};
        const Pipeline p = all.make(static_cast<int>(values.size()));
        values.push_back(p.threshold->objective(own));
        // What the estimate of a file may be off by.
        const double bits = 0.005 * own.stored_bits + 64 * 8.0 / static_cast<double>(w.size());
        slacks.push_back(p.threshold->objective({own.relative_error, own.paper_bits, own.stored_bits + bits}) - values.back());
      }
      const double best = *std::min_element(values.begin(), values.end()), worst = *std::max_element(values.begin(), values.end());
      const double slack = 1e-6 + 2 * *std::max_element(slacks.begin(), slacks.end());
      const MatrixResult kept = quantize_matrix(all, job_of(w.view()), test::cpu());
      EXPECT_LE(values[static_cast<size_t>(kept.alternative)], best + slack);
      differ += worst > best + 4 * slack ? 1 : 0;
    }
  EXPECT_GE(differ, 2) << "nothing to choose between";
}

INSTANTIATE_TEST_SUITE_P(Choices, EveryChoice, ::testing::ValuesIn(choices()), [](const auto& info) { return std::string(info.param.name); });

constexpr const char* kBudgeted =
    "{{transform: {}, saliency: sigma, threshold: {{type: brent, objective: budget, budget: {}, lo: 0, hi: 0.06, points: 5, tolerance: 0.002}}, quantizer: binary,"
    " salient_quantizer: {{type: multibit, bits: 3, grid: offset}}, coder: {{salient_index: range, group_index: range, codes: range}}, trial_weights: {},"
    " alternatives: {{list: [{{grouping: single}}, {{grouping: {{type: kmeans, groups: 2}}}}, {{grouping: {{type: kmeans, groups: 3}}}}, {{grouping: {{type: kmeans, groups: 4}}}}],"
    " grid: {{saliency: [sigma, columns], salient_quantizer.bits: [2, 4]}}}}}}";

TEST(Budget, HoldsForTheFile) {
  for (const char* transform : {"none", "scale"})
    for (const char* kind : {"gauss", "t10+s"}) {
      const Matrix w = test::make_random(kind, 192, 224, 17);
      double last = 2;
      for (const double budget : {1.2, 2.0, 3.0})
        for (const int64_t trial : {int64_t{0}, int64_t{4096}}) {
          SCOPED_TRACE(fmt::format("{} {} budget {} trial_weights {}", transform, kind, budget, trial));
          const MatrixResult r = quantize_matrix(factory(fmt::format(kBudgeted, transform, budget, trial)), job_of(w.view()), test::cpu());
          // What a file may exceed it by is what its header differs from the estimate.
          EXPECT_LE(file_bits(r), budget * static_cast<double>(w.size()) + 64 * 8);
          EXPECT_GT(r.storage.stored_bits(), budget - 0.5) << "bits left unused";
          if (trial == 0) {
            EXPECT_LE(r.relative_error, last * 1.05) << "a larger budget gave a larger error";
            last = r.relative_error;
          }
        }
    }
}

// The grid of salient weights starts at the cut of the segment they lie in: the largest magnitude that is not salient there.
TEST(Segments, SalientGridsStartAtTheirOwnCut) {
  Matrix w = test::make_random("gauss", 64, 160, 23);
  for (int64_t i = 0; i < w.rows(); ++i)
    for (int64_t j = 0; j < w.cols(); ++j) w(i, j) *= static_cast<float>(1 + j / 32);  // cuts that differ
  const char* yaml = "{{saliency: {{type: sigma, center: zero}}, threshold: {{type: fixed, ratio: 0.1}}, quantizer: binary, salient_quantizer: {{type: multibit, bits: 3, grid: offset}},"
                     " segment_columns: 32, salient_segment_columns: {}, numerics: reference}}";
  for (const int64_t salient : {32, 16}) {
    Trace trace(true);
    MatrixJob job = job_of(w.view());
    job.trace = &trace;
    const MatrixResult r = quantize_matrix(factory(fmt::format(fmt::runtime(yaml), salient)), job, test::cpu());
    const std::vector<float> offsets = test::numbers(r.packed, "salient_multibit_offset");
    ASSERT_EQ(offsets.size(), static_cast<size_t>(160 / salient));
    for (size_t k = 0; k < offsets.size(); ++k) {
      const int64_t first = static_cast<int64_t>(k) * salient / 32 * 32;
      const Trace::Array& mask = trace.arrays().at(first == 0 ? "mask" : fmt::format("mask@{}", first));
      float cut = 0;
      for (int64_t i = 0; i < w.rows(); ++i)
        for (int64_t j = 0; j < 32; ++j)
          if (mask.values[static_cast<size_t>(i * 32 + j)] == 0) cut = std::max(cut, std::abs(w(i, first + j)));
      EXPECT_EQ(offsets[k], cut) << "segment " << k;
    }
  }
}

}  // namespace
}  // namespace sage
