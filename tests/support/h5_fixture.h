// Reads committed HDF5 fixtures: tests/data/FOLDER/NAME.h5. Those in baselines/ are what released code gave:
//   inputs      INPUT/{W, X, H, U, U_diag}: weights, layer inputs, their Gram (upper triangle), the factor of its damped inverse
//   gptq, pb_llm, billm   INPUT/SETTING/: weights as Q_index into Q_level, parameters, choices; row_ok: rows that no rounding tips over
//   functions   single functions of theirs
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "core/tensor/view.h"

namespace sage::test {

class H5Fixture {
 public:
  // `path` below the test data folder: "baselines/gptq.h5".
  explicit H5Fixture(const std::string& path) : id_(H5Fopen((SAGE_TEST_DATA "/" + path).c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {
    if (id_ < 0) throw std::runtime_error("cannot open " + path);
  }
  ~H5Fixture() { H5Fclose(id_); }
  H5Fixture(const H5Fixture&) = delete;
  H5Fixture& operator=(const H5Fixture&) = delete;

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
  std::vector<int64_t> integers(const std::string& path) const { return read<int64_t>(path, H5T_NATIVE_INT64); }
  std::vector<float> floats(const std::string& path) const { return read<float>(path, H5T_NATIVE_FLOAT); }
  std::vector<double> doubles(const std::string& path) const { return read<double>(path, H5T_NATIVE_DOUBLE); }
  std::vector<int64_t> shape(const std::string& path) const {
    const hid_t d = open(path), space = H5Dget_space(d);
    std::vector<hsize_t> dims(static_cast<size_t>(H5Sget_simple_extent_ndims(space)));
    H5Sget_simple_extent_dims(space, dims.data(), nullptr);
    H5Sclose(space);
    H5Dclose(d);
    return {dims.begin(), dims.end()};
  }
  // The last extent is that of a row; a vector is one row, a stack of matrices one below the other.
  Matrix matrix(const std::string& path) const {
    const int64_t cols = shape(path).back();
    const std::vector<float> values = floats(path);
    return Matrix::copy({values.data(), static_cast<int64_t>(values.size()) / cols, cols});
  }
  // Weights stored as an index into the values of their row.
  Matrix palette(const std::string& index_path, const std::string& level_path) const {
    const std::vector<int64_t> index = integers(index_path);
    const Matrix level = matrix(level_path);
    Matrix q(level.rows(), static_cast<int64_t>(index.size()) / level.rows());
    for (int64_t i = 0; i < q.rows(); ++i)
      for (int64_t j = 0; j < q.cols(); ++j)
        q(i, j) = level(i, index[static_cast<size_t>(i * q.cols() + j)]);
    return q;
  }
  bool has_attribute(const std::string& path, const char* name) const {
    return H5Aexists_by_name(id_, path.c_str(), name, H5P_DEFAULT) > 0;
  }
  // Numbers: double or int64_t; text: std::string.
  template <class T>
  T attribute(const std::string& path, const char* name) const {
    const hid_t a = H5Aopen_by_name(id_, path.c_str(), name, H5P_DEFAULT, H5P_DEFAULT);
    if (a < 0) throw std::runtime_error(path + ": no attribute " + name);
    T v{};
    if constexpr (std::is_same_v<T, std::string>) {
      const hid_t type = H5Aget_type(a);
      std::string text(H5Tget_size(type), '\0');
      H5Aread(a, type, text.data());
      H5Tclose(type);
      v = text.c_str();
    } else {
      H5Aread(a, std::is_same_v<T, double> ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64, &v);
    }
    H5Aclose(a);
    return v;
  }

 private:
  hid_t open(const std::string& path) const {
    const hid_t d = H5Dopen2(id_, path.c_str(), H5P_DEFAULT);
    if (d < 0) throw std::runtime_error("no dataset " + path);
    return d;
  }
  template <class T>
  std::vector<T> read(const std::string& path, hid_t type) const {
    const hid_t d = open(path), space = H5Dget_space(d);
    std::vector<T> out(static_cast<size_t>(H5Sget_simple_extent_npoints(space)));
    H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data());
    H5Sclose(space);
    H5Dclose(d);
    return out;
  }
  hid_t id_;
};

// Input `name` of baselines/inputs.h5 with the columns of weights zeroed whose inputs were all zero, as the released code does
// before it selects or fits most things.
inline Matrix weights_without_dead_columns(const H5Fixture& inputs, const std::string& name) {
  Matrix w = inputs.matrix(name + "/W");
  const Matrix h = inputs.matrix(name + "/H");
  for (int64_t j = 0; j < w.cols(); ++j)
    for (int64_t i = 0; h(j, j) == 0 && i < w.rows(); ++i)
      w(i, j) = 0;
  return w;
}

}  // namespace sage::test
