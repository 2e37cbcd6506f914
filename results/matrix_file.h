// Single matrices in HDF5: what `sageptq matrix` reads and leaves behind. Unlike run files these are exchanged with other tools, so
// datasets are plain 2-D arrays under plain names.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/tensor/view.h"

namespace sage {

// A two-dimensional dataset of any real or integer type, as FP32. ResourceError naming file and dataset if it is absent, not 2-D
// or larger than kMaxMatrixBytes.
inline constexpr uint64_t kMaxMatrixBytes = uint64_t{16} << 30;
Matrix read_matrix_dataset(const std::string& path, const std::string& dataset);

struct MatrixFile {
  struct Array {
    std::vector<int64_t> shape;
    std::vector<double> values;
  };
  WeightView dequantized;
  std::map<std::string, double> scalars;       // attributes of the root
  std::map<std::string, std::string> texts;    // likewise
  std::map<std::string, Array> arrays;         // what the components chose: masks, labels, scales, thresholds
};
// Atomically: the file appears whole or not at all.
void write_matrix_file(const std::string& path, const MatrixFile& content);

}  // namespace sage
