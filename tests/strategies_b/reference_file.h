// HDF5 files of what the released code of other methods gave on fixed inputs (tests/data/baselines).
#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>

#include <string>
#include <vector>

#include "core/tensor/view.h"

namespace sage::test {

class ReferenceFile {
 public:
  explicit ReferenceFile(const char* name)
      : id_(H5Fopen((std::string(SAGE_TEST_DATA "/baselines/") + name).c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {}
  ~ReferenceFile() { H5Fclose(id_); }
  ReferenceFile(const ReferenceFile&) = delete;
  ReferenceFile& operator=(const ReferenceFile&) = delete;

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
  bool has(const std::string& path) const { return H5Lexists(id_, path.c_str(), H5P_DEFAULT) > 0; }
  // Weights stored as `index` into the values of their row, `level`.
  Matrix read_palette(const std::string& index_path, const std::string& level_path) const {
    const Matrix index = read(index_path), level = read(level_path);
    Matrix q(index.rows(), index.cols());
    for (int64_t i = 0; i < q.rows(); ++i)
      for (int64_t j = 0; j < q.cols(); ++j)
        q(i, j) = level(i, static_cast<int64_t>(index(i, j)));
    return q;
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
  bool has_attribute(const std::string& path, const char* name) const {
    return H5Aexists_by_name(id_, path.c_str(), name, H5P_DEFAULT) > 0;
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

// The weights of an input: in quantizers.h5 itself, or in rtn.h5, which holds some of the same inputs.
inline Matrix reference_weights(const ReferenceFile& quantizers, const std::string& input) {
  const std::string path = "matrices/" + input + "/W";
  return quantizers.has(path) ? quantizers.read(path) : ReferenceFile("rtn.h5").read(path);
}

// Columns whose inputs are all zero put to zero, as the released code does before it fits anything but whole-row grids.
inline Matrix without_dead_columns(const ReferenceFile& quantizers, const std::string& input, const Matrix& w) {
  Matrix out = Matrix::copy(w.view());
  const std::string path = "matrices/" + input + "/dead";
  if (!quantizers.has(path)) return out;
  const Matrix dead = quantizers.read(path);
  for (int64_t k = 0; k < dead.size(); ++k)
    for (int64_t i = 0; i < out.rows(); ++i)
      out(i, static_cast<int64_t>(dead.data()[k])) = 0;
  return out;
}

}  // namespace sage::test
