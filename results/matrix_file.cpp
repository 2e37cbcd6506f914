#include "results/matrix_file.h"

#include <cmath>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "results/hdf5_io.h"

namespace sage {
namespace {

using hdf5::Handle;

Handle open_for_reading(const std::string& path) {
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (id < 0) throw ResourceError("{}: is not a readable HDF5 file; expected one with a weight matrix; check the path and that its writer closed it", path);
  return {id, H5Fclose, "open"};
}

}  // namespace

Matrix read_matrix_dataset(const std::string& path, const std::string& dataset) {
  const hdf5::QuietErrors quiet;
  const Handle file = open_for_reading(path);
  const auto bad = [&](const std::string& found) {
    return ResourceError("{}: dataset '{}' {}; expected a two-dimensional array of numbers; name another one", path, dataset, found);
  };
  const hid_t id = H5Dopen2(file, dataset.c_str(), H5P_DEFAULT);
  if (id < 0) throw bad("is absent");
  const Handle data(id, H5Dclose, "dataset");
  const Handle space(H5Dget_space(data), H5Sclose, "space");
  if (H5Sget_simple_extent_ndims(space) != 2) throw bad(fmt::format("has {} dimensions", H5Sget_simple_extent_ndims(space)));
  hsize_t dims[2] = {0, 0};
  H5Sget_simple_extent_dims(space, dims, nullptr);
  const Handle type(H5Dget_type(data), H5Tclose, "type");
  const H5T_class_t kind = H5Tget_class(type);
  if (kind != H5T_FLOAT && kind != H5T_INTEGER) throw bad("does not hold numbers");
  if (dims[0] == 0 || dims[1] == 0) throw bad(fmt::format("is {} x {}", dims[0], dims[1]));
  if (dims[0] > kMaxMatrixBytes / sizeof(float) / dims[1]) throw bad(fmt::format("is {} x {}, more than {} GiB", dims[0], dims[1], kMaxMatrixBytes >> 30));
  // A file can declare a huge array and store none of it; such an array is all fill value and not worth its memory.
  if (H5Dget_storage_size(data) == 0) throw bad("is declared but holds no data");
  Matrix m(static_cast<int64_t>(dims[0]), static_cast<int64_t>(dims[1]));
  if (H5Dread(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, m.data()) < 0) throw bad("cannot be read (damaged or of an unknown filter)");
  return m;
}

void write_matrix_file(const std::string& path, const MatrixFile& content) {
  const hdf5::QuietErrors quiet;
  hdf5::ImageWriter image(0);
  {
    const hsize_t dims[2] = {static_cast<hsize_t>(content.dequantized.rows), static_cast<hsize_t>(content.dequantized.cols)};
    const Handle space(H5Screate_simple(2, dims, nullptr), H5Sclose, "space");
    const Handle data(H5Dcreate2(image.root(), "dequantized", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose, "dequantized");
    const Matrix copy = Matrix::copy(content.dequantized);
    if (H5Dwrite(data, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, copy.data()) < 0) hdf5::fail("dequantized");
  }
  std::vector<hdf5::Column> attributes;
  for (const auto& [name, v] : content.scalars) attributes.push_back({name, std::vector<double>{v}});
  for (const auto& [name, t] : content.texts) attributes.push_back({name, std::vector<std::string>{t}});
  hdf5::write_attributes(image.root(), attributes);
  if (!content.arrays.empty()) {
    const Handle group = hdf5::make_group(image.root(), "trace");
    for (const auto& [name, a] : content.arrays)
      hdf5::write_array(group, name, {a.shape.begin(), a.shape.end()}, a.values);
  }
  write_file_atomically(path, image.image());
}

}  // namespace sage
