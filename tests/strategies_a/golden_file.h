// The committed HDF5 file of what released code chose: data/baselines/choices.h5.
//
//   inputs/NAME/               W (n x m), U_diag (m), dead (columns whose Gram is 0; the methods set their weights to 0)
//   billm/NAME/SETTING/        what BiLLM searched and chose in every block of columns, and W_block where compensation ran
//   pb_llm/NAME/SETTING/       low_mask of PB-LLM
//   quantile/, residual_binarization/   single functions
#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>

#include <string>
#include <vector>

#include "core/tensor/view.h"

namespace sage::test {

class GoldenFile {
 public:
  GoldenFile() : id_(H5Fopen(SAGE_TEST_DATA "/baselines/choices.h5", H5F_ACC_RDONLY, H5P_DEFAULT)) { EXPECT_GE(id_, 0); }
  ~GoldenFile() { H5Fclose(id_); }
  GoldenFile(const GoldenFile&) = delete;
  GoldenFile& operator=(const GoldenFile&) = delete;

  std::vector<std::string> children(const std::string& group) const {
    std::vector<std::string> names;
    const hid_t g = H5Gopen2(id_, group.c_str(), H5P_DEFAULT);
    EXPECT_GE(g, 0) << group;
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
  // Any numeric dataset in double; shape gets its extents.
  std::vector<double> numbers(const std::string& path, std::vector<hsize_t>* shape = nullptr) const {
    const hid_t d = H5Dopen2(id_, path.c_str(), H5P_DEFAULT);
    EXPECT_GE(d, 0) << path;
    const hid_t space = H5Dget_space(d);
    std::vector<double> out(static_cast<size_t>(H5Sget_simple_extent_npoints(space)));
    EXPECT_GE(H5Dread(d, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data()), 0) << path;
    if (shape != nullptr) {
      shape->resize(static_cast<size_t>(H5Sget_simple_extent_ndims(space)));
      H5Sget_simple_extent_dims(space, shape->data(), nullptr);
    }
    H5Sclose(space);
    H5Dclose(d);
    return out;
  }
  // A matrix of floats; a vector is one row.
  Matrix matrix(const std::string& path) const {
    std::vector<hsize_t> shape;
    const std::vector<double> v = numbers(path, &shape);
    Matrix m(shape.size() > 1 ? static_cast<int64_t>(shape[0]) : 1, static_cast<int64_t>(shape.back()));
    for (size_t k = 0; k < v.size(); ++k)
      m.data()[k] = static_cast<float>(v[k]);
    return m;
  }
  double attribute(const std::string& path, const char* name) const {
    double v = -1;
    const hid_t a = H5Aopen_by_name(id_, path.c_str(), name, H5P_DEFAULT, H5P_DEFAULT);
    EXPECT_GE(H5Aread(a, H5T_NATIVE_DOUBLE, &v), 0) << path << ": " << name;
    H5Aclose(a);
    return v;
  }
  // The weights of an input as the methods see them: dead columns are zero.
  Matrix weights(const std::string& input) const {
    Matrix w = matrix("inputs/" + input + "/W");
    for (const double j : numbers("inputs/" + input + "/dead"))
      for (int64_t i = 0; i < w.rows(); ++i)
        w(i, static_cast<int64_t>(j)) = 0;
    return w;
  }

 private:
  hid_t id_;
};

}  // namespace sage::test
