// Uniform grids against the released code of GPTQ: data/baselines/functions.h5 and gptq.h5 hold what its Quantizer class gave
// on fixed inputs.
#include "strategies/quantizer/uniform.h"
#include "tests/strategies_b/support.h"
#include "tests/support/h5_fixture.h"

namespace sage {
namespace {

using test::H5Fixture;

struct Setting {
  Uniform::Params params;
  bool row_ok_only = false;  // mse: one rounding may choose another range where two are as good
};

Setting setting_of(const H5Fixture& file, const std::string& path) {
  Setting s;
  s.params.bits = static_cast<int>(file.attribute<int64_t>(path, "bits"));
  s.params.symmetric = file.attribute<int64_t>(path, "sym") != 0;
  s.params.trits = file.has_attribute(path, "trits") ? file.attribute<int64_t>(path, "trits") != 0 : path.ends_with("/trits");
  if (file.has_attribute(path, "mse")) s.params.mse = file.attribute<int64_t>(path, "mse") != 0;
  if (file.has_attribute(path, "groupsize")) s.params.group_size = std::max<int64_t>(file.attribute<int64_t>(path, "groupsize"), 0);
  s.row_ok_only = s.params.mse;
  return s;
}

// Scale, zero point and, where `expected` is given, every decoded weight are the same bits.
void expect_equal(const H5Fixture& file, const std::string& path, const Matrix& w, const Matrix* expected) {
  SCOPED_TRACE(path);
  const Setting s = setting_of(file, path);
  const test::Coded c = test::code_all(Uniform(s.params), w.view(), Numerics::kReference);
  const Matrix scale = file.matrix(path + "/scale"), zero = file.matrix(path + "/zero");
  const std::vector<float>& got = c.planes.number_planes().at("uniform_scales").values;
  ASSERT_EQ(scale.size(), static_cast<int64_t>(got.size()));
  ASSERT_EQ(scale.size() % w.rows(), 0);
  const int64_t per_row = scale.size() / w.rows();
  Matrix ok(1, w.rows());
  std::fill_n(ok.data(), ok.size(), 1.0f);
  if (s.row_ok_only) ok = file.matrix(path + "/row_ok");
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

int expect_function_cases(const H5Fixture& file, const std::string& folder) {
  const Matrix x = file.matrix(folder + "/x");
  int cases = 0;
  for (const std::string& name : file.children(folder)) {
    if (name == "x") continue;
    const Matrix xhat = file.matrix(folder + "/" + name + "/xhat");
    EXPECT_EQ(xhat.cols(), x.cols());
    expect_equal(file, folder + "/" + name, x, &xhat);
    ++cases;
  }
  return cases;
}

TEST(UniformReference, QuantizerFunctionIsBitExact) {
  // 1, 2, 3, 4, 8 bits, asymmetric and symmetric, with and without mse; trits.
  EXPECT_EQ(expect_function_cases(H5Fixture("baselines/functions.h5"), "uniform_quantizer"), 21);
}

// Round to nearest, and what GPTQ fits before it compensates anything: grids of whole rows, and all grids of static groups (after
// dead columns were put to zero).
TEST(UniformReference, MatricesAndGridsOfGptqAreBitExact) {
  const H5Fixture inputs("baselines/inputs.h5"), file("baselines/gptq.h5");
  int nearest = 0, grids = 0;
  for (const std::string& input : file.children("/")) {
    const Matrix w = inputs.matrix(input + "/W"), alive = test::weights_without_dead_columns(inputs, input);
    for (const std::string& name : file.children(input)) {
      const std::string path = input + "/" + name;
      const bool fixed = file.attribute<int64_t>(path, "static_groups") != 0;
      if (file.attribute<int64_t>(path, "rtn") != 0) {
        const Matrix q = file.palette(path + "/Q_index", path + "/Q_level");
        expect_equal(file, path, w, &q);
        ++nearest;
      } else if (fixed || file.attribute<int64_t>(path, "groupsize") <= 0) {
        expect_equal(file, path, fixed ? alive : w, nullptr);
        ++grids;
      }
    }
  }
  EXPECT_EQ(nearest, 20);  // five inputs, 1 to 4 bits and 4 bits symmetric where there are
  EXPECT_EQ(grids, 51);
}

}  // namespace
}  // namespace sage
