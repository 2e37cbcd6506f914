// Uniform grids against the released code of GPTQ: data/baselines/rtn.h5 and quantizers.h5 hold what its Quantizer class gave
// on fixed inputs.
#include "strategies/quantizer/uniform.h"
#include "tests/strategies_b/reference_file.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

using test::ReferenceFile;

struct Setting {
  Uniform::Params params;
  bool row_ok_only = false;  // mse: one rounding may choose another range where two are as good
};

Setting setting_of(const ReferenceFile& file, const std::string& path) {
  Setting s;
  s.params.bits = static_cast<int>(file.attribute(path, "bits"));
  s.params.symmetric = file.attribute(path, "sym") != 0;
  if (file.has_attribute(path, "trits")) s.params.trits = file.attribute(path, "trits") != 0;
  if (file.has_attribute(path, "mse")) s.params.mse = file.attribute(path, "mse") != 0;
  if (file.has_attribute(path, "groupsize")) s.params.group_size = std::max<int64_t>(file.attribute(path, "groupsize"), 0);
  s.row_ok_only = s.params.mse;
  return s;
}

// Scale, zero point and, where `expected` is given, every decoded weight are the same bits.
void expect_equal(const ReferenceFile& file, const std::string& path, const Matrix& w, const Matrix* expected) {
  SCOPED_TRACE(path);
  const Setting s = setting_of(file, path);
  const test::Coded c = test::code_all(Uniform(s.params), w.view(), Numerics::kReference);
  const Matrix scale = file.read(path + "/scale"), zero = file.read(path + "/zero");
  const std::vector<float>& got = c.planes.number_planes().at("uniform_scales").values;
  ASSERT_EQ(scale.size(), static_cast<int64_t>(got.size()));
  ASSERT_EQ(scale.size() % w.rows(), 0);
  const int64_t per_row = scale.size() / w.rows();
  Matrix ok(1, w.rows());
  std::fill_n(ok.data(), ok.size(), 1.0f);
  if (s.row_ok_only) ok = file.read(path + "/row_ok");
  for (int64_t i = 0; i < w.rows(); ++i) {
    if (ok.data()[i] == 0) continue;
    for (int64_t k = i * per_row; k < (i + 1) * per_row; ++k) {
      ASSERT_EQ(got[static_cast<size_t>(k)], scale.data()[k]) << "row " << i;
      const float z = s.params.trits       ? c.planes.number_planes().at("uniform_minima").values[static_cast<size_t>(k)]
                      : s.params.symmetric ? static_cast<float>(1 << (s.params.bits - 1))
                                           : c.planes.symbol_planes().at("uniform_zeros").symbols[static_cast<size_t>(k)];
      ASSERT_EQ(z, zero.data()[k]) << "row " << i;
    }
    for (int64_t j = 0; expected != nullptr && j < w.cols(); ++j)
      ASSERT_EQ(c.decoded(i, j), (*expected)(i, j)) << "row " << i << " column " << j << ": " << w(i, j);
  }
}

int expect_function_cases(const ReferenceFile& file, const std::string& folder) {
  const Matrix x = file.read(folder + "/x");
  int cases = 0;
  for (const std::string& name : file.children(folder)) {
    if (name == "x") continue;
    const Matrix xhat = file.read(folder + "/" + name + "/xhat");
    EXPECT_EQ(xhat.cols(), x.cols());
    expect_equal(file, folder + "/" + name, x, &xhat);
    ++cases;
  }
  return cases;
}

TEST(UniformReference, QuantizerFunctionIsBitExact) {
  EXPECT_EQ(expect_function_cases(ReferenceFile("rtn.h5"), "functions"), 10);  // 1, 2, 3, 4, 8 bits, asymmetric and symmetric
}

TEST(UniformReference, ShrunkenRangesAndTritsAreBitExact) {
  EXPECT_EQ(expect_function_cases(ReferenceFile("quantizers.h5"), "uniform"), 11);  // the same ten with mse, and trits
}

TEST(UniformReference, WholeMatricesAreBitExact) {
  const ReferenceFile file("rtn.h5");
  int cases = 0;
  for (const std::string& input : file.children("matrices")) {
    const std::string folder = "matrices/" + input;
    const Matrix w = file.read(folder + "/W");
    for (const std::string& name : file.children(folder)) {
      if (name == "W") continue;
      const std::string path = folder + "/" + name;
      const Matrix q = file.read_palette(path + "/q_index", path + "/q_level");
      expect_equal(file, path, w, &q);
      ++cases;
    }
  }
  EXPECT_EQ(cases, 15);  // three inputs, 1 to 4 bits and 4 bits symmetric
}

// What GPTQ fits before it compensates anything: grids of whole rows, and all grids of static groups (after dead columns were
// put to zero).
TEST(UniformReference, GridsOfGptqAreBitExact) {
  const ReferenceFile file("quantizers.h5");
  int cases = 0;
  for (const std::string& input : file.children("matrices")) {
    const std::string folder = "matrices/" + input;
    const Matrix w = test::reference_weights(file, input), alive = test::without_dead_columns(file, input, w);
    for (const std::string& name : file.children(folder + "/gptq")) {
      const std::string path = folder + "/gptq/" + name;
      Matrix q;
      if (file.has(path + "/q_index")) q = file.read_palette(path + "/q_index", path + "/q_level");
      expect_equal(file, path, file.attribute(path, "dead_first") != 0 ? alive : w, q.size() > 0 ? &q : nullptr);
      ++cases;
    }
  }
  EXPECT_EQ(cases, 30);
}

}  // namespace
}  // namespace sage
