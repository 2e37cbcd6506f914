// GPTQ, PB-LLM and BiLLM against what their released code gave (data/baselines). Each case is a preset and a few overrides.
//
// Demands: rows the fixtures mark as reproducible lie within 5e-5 of the row's largest value; losses within 2e-5 (2 % when a
// row is not reproducible); choices (masks, column counts, break points) exactly where they are marked exact.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/calibration/gram.h"
#include "core/pipeline/matrix_engine.h"
#include "experiments/engine/experiment.h"
#include "kernels/backends.h"
#include "strategies/builtin.h"
#include "tests/support/h5_fixture.h"

namespace sage {
namespace {

using test::H5Fixture;

struct Case {
  std::string file, input, name;
  std::string path() const { return input + "/" + name; }
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.file << ":" << c.path(); }

const H5Fixture& fixture(const std::string& file) {
  static std::map<std::string, std::unique_ptr<H5Fixture>> open;
  std::unique_ptr<H5Fixture>& f = open[file];
  if (f == nullptr) f = std::make_unique<H5Fixture>("baselines/" + file + ".h5");
  return *f;
}

std::vector<Case> cases(const std::string& file) {
  std::vector<Case> out;
  for (const std::string& input : fixture(file).children("/"))
    for (const std::string& name : fixture(file).children("/" + input))
      out.push_back({file, input, name});
  return out;
}

std::string test_name(const ::testing::TestParamInfo<Case>& info) { return info.param.input + "_" + info.param.name; }

struct Outcome {
  MatrixResult result;
  Trace trace{true};
};

// Quantizes the case's input in FP32 parameters and checks the weights and the way back from the stored planes.
std::unique_ptr<Outcome> quantize(const Case& c, const std::string& preset, std::vector<std::string> overrides) {
  static const Registries& registries = [] {
    static Registries r;
    register_builtin(r);
    return std::ref(r);
  }();
  static const std::unique_ptr<Backend> backend = make_backend("cpu");
  overrides.push_back("pipeline.numerics=reference");
  const Experiment e = resolve_experiment(preset, overrides, registries);
  const PipelineFactory factory(e.pipeline, registries);
  const H5Fixture& inputs = fixture("inputs");
  const Matrix w = inputs.matrix(c.input + "/W");
  Matrix gram = inputs.matrix(c.input + "/H");
  complete_gram(gram.view(), c.input);
  const LayerHessian hessian(gram.view(), factor_options(e.calibration), c.input);
  auto out = std::make_unique<Outcome>();
  out->result = quantize_matrix(factory, {.weights = w.view(), .id = {0, c.input}, .hessian = &hessian, .trace = &out->trace}, *backend);

  const Matrix again = decode_matrix(factory, out->result.packed, c.input, *backend);
  EXPECT_TRUE(std::equal(again.data(), again.data() + again.size(), out->result.dequantized.data())) << "decodes to other weights";
  return out;
}

void expect_weights(const Case& c, const Matrix& got, bool bit_exact) {
  const H5Fixture& f = fixture(c.file);
  const Matrix level = f.matrix(c.path() + "/Q_level");
  const std::vector<int64_t> index = f.integers(c.path() + "/Q_index"), ok = f.integers(c.path() + "/row_ok");
  ASSERT_EQ(static_cast<size_t>(got.size()), index.size());
  int64_t checked = 0;
  for (int64_t i = 0; i < got.rows(); ++i) {
    if (ok[static_cast<size_t>(i)] == 0) continue;
    ++checked;
    double largest = 0, worst = 0;
    for (int64_t j = 0; j < got.cols(); ++j) {
      const float expected = level(i, index[static_cast<size_t>(i * got.cols() + j)]);
      largest = std::max(largest, std::abs(static_cast<double>(expected)));
      worst = std::max(worst, std::abs(static_cast<double>(got(i, j)) - expected));
      if (bit_exact) {
        ASSERT_EQ(got(i, j), expected) << i << "," << j;
      }
    }
    ASSERT_LE(worst, 5e-5 * largest) << "row " << i;
  }
  EXPECT_GT(checked, got.rows() / 2);
}

void expect_loss(const Case& c, const Outcome& o) {
  const double expected = fixture(c.file).attribute<double>(c.path(), "loss");
  if (std::isnan(expected)) return;
  const std::vector<int64_t> ok = fixture(c.file).integers(c.path() + "/row_ok");
  const bool all = std::all_of(ok.begin(), ok.end(), [](int64_t v) { return v != 0; });
  const auto it = o.trace.scalars().find("compensation.loss");
  const double got = it == o.trace.scalars().end() ? 0.0 : it->second;
  EXPECT_NEAR(got, expected, (all ? 2e-5 : 0.02) * expected);
}

class Gptq : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Released, Gptq, ::testing::ValuesIn(cases("gptq")), test_name);

TEST_P(Gptq, GivesTheReleasedWeights) {
  const Case& c = GetParam();
  const auto number = [&](const char* name) { return fixture(c.file).attribute<int64_t>(c.path(), name); };
  std::vector<std::string> sets{fmt::format("pipeline.quantizer.bits={}", number("bits"))};
  for (const auto& [attribute, option] : {std::pair("sym", "symmetric"), {"mse", "mse"}, {"trits", "trits"}})
    if (number(attribute) != 0) sets.push_back(fmt::format("pipeline.quantizer.{}=true", option));
  const bool nearest = number("rtn") != 0;
  if (!nearest) {
    sets.push_back(fmt::format("pipeline.block_columns={}", number("blocksize")));
    if (const int64_t g = number("groupsize"); g > 0) {
      sets.push_back(fmt::format("pipeline.segment_columns={}", g));
      if (number("static_groups") != 0) sets.push_back("pipeline.segment_weights=cleaned");
    } else {
      sets.insert(sets.end(), {"pipeline.segment_columns=0", "pipeline.segment_weights=original"});
    }
    if (number("act_order") != 0) sets.push_back("pipeline.column_order=activation");
  }
  const auto o = quantize(c, nearest ? "rtn" : "gptq", sets);
  expect_weights(c, o->result.dequantized, nearest);
  expect_loss(c, *o);
}

}  // namespace
}  // namespace sage
