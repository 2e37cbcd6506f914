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
  const LayerHessian hessian(gram.view(), factor_options(e.calibration, Numerics::kReference), c.input);
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

// Arrays that components leave for each segment, put together to the width of the matrix.
std::vector<double> traced(const Outcome& o, const std::string& name, int64_t rows, int64_t cols) {
  std::vector<double> whole(static_cast<size_t>(rows * cols), -1.0);
  for (const auto& [key, a] : o.trace.arrays()) {
    if (key != name && !key.starts_with(name + "@")) continue;
    const int64_t first = key == name ? 0 : std::stoll(key.substr(name.size() + 1)), width = a.shape.at(1);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < width; ++j)
        whole[static_cast<size_t>(i * cols + first + j)] = a.values[static_cast<size_t>(i * width + j)];
  }
  return whole;
}

class PbLlm : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Released, PbLlm, ::testing::ValuesIn(cases("pb_llm")), test_name);

TEST_P(PbLlm, GivesTheReleasedWeights) {
  const Case& c = GetParam();
  const H5Fixture& f = fixture(c.file);
  const auto number = [&](const char* name) { return f.attribute<int64_t>(c.path(), name); };
  const int64_t g = number("groupsize"), cols = fixture("inputs").shape(c.input + "/W").at(1);
  const bool plain = number("disable_gptq") != 0;
  std::vector<std::string> sets{fmt::format("pipeline.threshold.low_frac={}", f.attribute<double>(c.path(), "low_frac")),
                                fmt::format("pipeline.salient_quantizer.bits={}", number("high_bit")),
                                fmt::format("pipeline.block_columns={}", number("blocksize"))};
  if (g > 0) sets.push_back(fmt::format("pipeline.segment_columns={}", g));
  if (f.attribute<std::string>(c.path(), "salient_metric") == "magnitude") sets.push_back("pipeline.saliency={type: magnitude}");
  const std::string method = f.attribute<std::string>(c.path(), "method");
  if (method == "xnor") sets.push_back("pipeline.quantizer.keep_zero=true");
  if (method == "sign") sets.push_back("pipeline.quantizer.method=sign");
  if (method == "prune") sets.push_back("pipeline.quantizer={type: prune}");
  if (method == "no") sets.push_back("pipeline.quantizer={type: keep}");
  if (method == "2bit" || method == "4bit")  // its 4bit has 8 levels
    sets.push_back(fmt::format("pipeline.quantizer={{type: uniform, bits: {}, pb_zero_group: {}}}", method == "2bit" ? 2 : 3, g > 0 ? g : cols));
  if (plain) sets.push_back("pipeline.compensator=none");
  const auto o = quantize(c, g > 0 ? "pb_llm_g128" : "pb_llm_rowwise", sets);
  expect_weights(c, o->result.dequantized, false);
  if (!plain) expect_loss(c, *o);
  if (number("mask_same") != 0 && f.has(c.path() + "/low_mask")) {
    const std::vector<int64_t> low = f.integers(c.path() + "/low_mask");
    const std::vector<double> mask = traced(*o, "mask", static_cast<int64_t>(low.size()) / cols, cols);
    for (size_t k = 0; k < low.size(); ++k)
      ASSERT_EQ(mask[k], low[k] == 0 ? 1 : 0) << "weight " << k;
  }
}

class Billm : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Released, Billm, ::testing::ValuesIn(cases("billm")), test_name);

TEST_P(Billm, GivesTheReleasedWeightsAndChoices) {
  const Case& c = GetParam();
  const H5Fixture& f = fixture(c.file);
  const auto number = [&](const char* name) { return f.attribute<int64_t>(c.path(), name); };
  const int64_t block = number("blocksize"), cols = fixture("inputs").shape(c.input + "/W").at(1);
  const bool plain = number("disable_gptq") != 0, binarized = f.attribute<std::string>(c.path(), "method") == "braq";
  std::vector<std::string> sets{fmt::format("pipeline.block_columns={}", block), fmt::format("pipeline.segment_columns={}", block)};
  if (f.attribute<std::string>(c.path(), "salient_metric") == "magnitude") sets.push_back("pipeline.saliency={type: columns, by: magnitude}");
  if (binarized) {
    sets.insert(sets.end(), {"pipeline.quantizer.keep_zero=true", "pipeline.salient_quantizer.keep_zero=true"});
  } else {  // its 2bit gives all three parts the codes of whole rows
    sets.insert(sets.end(), {"pipeline.saliency=none", "pipeline.threshold=fixed", "pipeline.grouping=single",
                             "pipeline.quantizer={type: uniform, bits: 2}"});
  }
  if (plain) sets.push_back("pipeline.compensator=none");
  const auto o = quantize(c, "billm_released", sets);
  expect_weights(c, o->result.dequantized, false);
  if (!plain) expect_loss(c, *o);
  if (!binarized || number("exact") == 0) return;

  const std::vector<int64_t> group = f.integers(c.path() + "/group"), counts = f.integers(c.path() + "/salient_count");
  const int64_t rows = static_cast<int64_t>(group.size()) / cols;
  const std::vector<double> mask = traced(*o, "mask", rows, cols), labels = traced(*o, "labels", rows, cols);
  for (size_t k = 0; k < group.size(); ++k)
    ASSERT_EQ(mask[k] != 0 ? 3 : static_cast<int>(labels[k]) + 1, group[k]) << "row " << k / static_cast<size_t>(cols) << ", column " << k % static_cast<size_t>(cols);
  for (size_t b = 0; b < counts.size(); ++b) {
    const std::string at = b == 0 ? "" : fmt::format("@{}", static_cast<int64_t>(b) * block);
    EXPECT_EQ(o->trace.scalars().at("salient_columns" + at), static_cast<double>(counts[b]));
    const double split = f.floats(c.path() + "/split_value")[b];
    EXPECT_NEAR(o->trace.scalars().at("split.value" + at), split, 1e-4 * std::abs(split));
  }
}

}  // namespace
}  // namespace sage
