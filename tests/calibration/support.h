// Shared by the calibration tests: reading fixtures, a folder of its own for a test, random inputs, thread control.
#pragma once

#include <gtest/gtest.h>
#include <hdf5.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/tensor/view.h"
#include "core/util/errors.h"
#include "core/util/random.h"

namespace sage::test {

// What the released code of GPTQ, PB-LLM and BiLLM gave: data/baselines.
class Fixture {
 public:
  explicit Fixture(const std::string& name)
      : id_(H5Fopen((SAGE_TEST_DATA "/baselines/" + name).c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)) {
    if (id_ < 0) throw std::runtime_error("cannot open " + name);
  }
  ~Fixture() { H5Fclose(id_); }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

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
  Matrix matrix(const std::string& path, int64_t rows, int64_t cols) const {
    const std::vector<float> values = floats(path);
    if (static_cast<int64_t>(values.size()) != rows * cols) throw std::runtime_error(path + ": other size than expected");
    return Matrix::copy({values.data(), rows, cols});
  }
  template <class T>
  T attribute(const std::string& path, const char* name) const {
    T v{};
    const hid_t a = H5Aopen_by_name(id_, path.c_str(), name, H5P_DEFAULT, H5P_DEFAULT);
    if (a < 0) throw std::runtime_error(path + ": no attribute " + name);
    H5Aread(a, std::is_same_v<T, double> ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT64, &v);
    H5Aclose(a);
    return v;
  }

 private:
  template <class T>
  std::vector<T> read(const std::string& path, hid_t type) const {
    const hid_t d = H5Dopen2(id_, path.c_str(), H5P_DEFAULT);
    if (d < 0) throw std::runtime_error("no dataset " + path);
    const hid_t space = H5Dget_space(d);
    std::vector<T> out(static_cast<size_t>(H5Sget_simple_extent_npoints(space)));
    H5Dread(d, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.data());
    H5Sclose(space);
    H5Dclose(d);
    return out;
  }
  hid_t id_;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sage-calibration-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class Threads {
 public:
  explicit Threads(int n) : before_(omp_get_max_threads()) { omp_set_num_threads(n); }
  ~Threads() { omp_set_num_threads(before_); }

 private:
  int before_;
};

// Correlated inputs, as layers have them: each column mixes its neighbour in.
inline Matrix inputs(int64_t rows, int64_t cols, uint64_t stream) {
  Rng rng(7, stream);
  Matrix x(rows, cols);
  for (int64_t i = 0; i < rows; ++i) {
    double last = 0;
    for (int64_t j = 0; j < cols; ++j) {
      last = 0.7 * last + rng.normal() * (j % 17 == 3 ? 5.0 : 1.0);
      x(i, j) = static_cast<float>(last);
    }
  }
  return x;
}

// H = sum of 2/N x^T x of N sequences below one another, in double, as defined.
inline std::vector<double> naive_gram(const std::vector<Matrix>& sequences) {
  const int64_t n = sequences.at(0).cols();
  std::vector<double> h(static_cast<size_t>(n * n), 0.0);
  for (const Matrix& x : sequences)
    for (int64_t t = 0; t < x.rows(); ++t)
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j)
          h[static_cast<size_t>(i * n + j)] +=
              2.0 / static_cast<double>(sequences.size()) * static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
  return h;
}

// The message of the error, for checks that it names what it should.
template <class E, class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  ADD_FAILURE() << "no such error";
  return "";
}
inline void expect_words(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& w : words)
    EXPECT_NE(message.find(w), std::string::npos) << "'" << w << "' is missing in: " << message;
}

}  // namespace sage::test
