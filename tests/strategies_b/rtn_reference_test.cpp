// Round to nearest against the released code of GPTQ: data/baselines/rtn.h5 holds what its Quantizer class gave on fixed
// inputs.
#include <hdf5.h>

#include "strategies/quantizer/rtn.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

class File {
 public:
  File() : id_(H5Fopen(SAGE_TEST_DATA "/baselines/rtn.h5", H5F_ACC_RDONLY, H5P_DEFAULT)) {}
  ~File() { H5Fclose(id_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  std::vector<std::string> children(const std::string& group) const {
    std::vector<std::string> names;
    const hid_t g = H5Gopen2(id_, group.c_str(), H5P_DEFAULT);
    H5Literate(
        g, H5_INDEX_NAME, H5_ITER_INC, nullptr,
        [](hid_t, const char* name, const H5L_info_t*, void* out) -> herr_t {
          static_cast<std::vector<std::string>*>(out)->emplace_back(name);
          return 0;
        },
        &names);
    H5Gclose(g);
    return names;
  }
  // Any numeric dataset as floats; a vector is one row.
  Matrix read(const std::string& path) const {
    const hid_t d = H5Dopen2(id_, path.c_str(), H5P_DEFAULT);
    EXPECT_GE(d, 0) << path;
    const hid_t space = H5Dget_space(d);
    hsize_t shape[2] = {1, 1};
    if (H5Sget_simple_extent_ndims(space) == 1)
      H5Sget_simple_extent_dims(space, shape + 1, nullptr);
    else
      H5Sget_simple_extent_dims(space, shape, nullptr);
    Matrix m(static_cast<int64_t>(shape[0]), static_cast<int64_t>(shape[1]));
    EXPECT_GE(H5Dread(d, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, m.data()), 0);
    H5Sclose(space);
    H5Dclose(d);
    return m;
  }
  int64_t attribute(const std::string& path, const char* name) const {
    int64_t v = -1;
    const hid_t a = H5Aopen_by_name(id_, path.c_str(), name, H5P_DEFAULT, H5P_DEFAULT);
    EXPECT_GE(H5Aread(a, H5T_NATIVE_INT64, &v), 0);
    H5Aclose(a);
    return v;
  }

 private:
  hid_t id_;
};

// Scale, zero point and every decoded weight are the same bits.
void expect_equal(const File& file, const std::string& path, const Matrix& w, const Matrix& expected) {
  SCOPED_TRACE(path);
  const bool symmetric = file.attribute(path, "sym") != 0;
  const Rtn rtn({static_cast<int>(file.attribute(path, "bits")), 0, symmetric, false});
  const test::Coded c = test::code_all(rtn, w.view(), Numerics::kReference);
  const Matrix scale = file.read(path + "/scale"), zero = file.read(path + "/zero");
  ASSERT_EQ(expected.rows(), w.rows());
  ASSERT_EQ(expected.cols(), w.cols());
  ASSERT_EQ(scale.size(), w.rows());
  const std::vector<float>& got = c.planes.number_planes().at("rtn_scales").values;
  for (int64_t i = 0; i < w.rows(); ++i) {
    ASSERT_EQ(got[static_cast<size_t>(i)], scale.data()[i]) << "row " << i;
    if (symmetric) {
      ASSERT_EQ(zero.data()[i], static_cast<float>(1 << (file.attribute(path, "bits") - 1)));
    } else {
      ASSERT_EQ(static_cast<float>(c.planes.symbol_planes().at("rtn_zeros").symbols[static_cast<size_t>(i)]), zero.data()[i])
          << "row " << i;
    }
    for (int64_t j = 0; j < w.cols(); ++j)
      ASSERT_EQ(c.decoded(i, j), expected(i, j)) << "row " << i << " column " << j << ": " << w(i, j);
  }
}

TEST(RtnReference, QuantizerFunctionIsBitExact) {
  const File file;
  const Matrix x = file.read("functions/x");
  int cases = 0;
  for (const std::string& name : file.children("functions")) {
    if (name == "x") continue;
    expect_equal(file, "functions/" + name, x, file.read("functions/" + name + "/xhat"));
    ++cases;
  }
  EXPECT_EQ(cases, 10);  // 1, 2, 3, 4, 8 bits, asymmetric and symmetric
}

TEST(RtnReference, WholeMatricesAreBitExact) {
  const File file;
  int cases = 0;
  for (const std::string& input : file.children("matrices")) {
    const std::string folder = "matrices/" + input;
    const Matrix w = file.read(folder + "/W");
    for (const std::string& name : file.children(folder)) {
      if (name == "W") continue;
      const std::string path = folder + "/" + name;
      const Matrix index = file.read(path + "/q_index"), level = file.read(path + "/q_level");
      Matrix q(w.rows(), w.cols());
      for (int64_t i = 0; i < w.rows(); ++i)
        for (int64_t j = 0; j < w.cols(); ++j)
          q(i, j) = level(i, static_cast<int64_t>(index(i, j)));
      expect_equal(file, path, w, q);
      ++cases;
    }
  }
  EXPECT_EQ(cases, 15);  // three inputs, 1 to 4 bits and 4 bits symmetric
}

}  // namespace
}  // namespace sage
