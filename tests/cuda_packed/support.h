// Packed matrices made weight by weight, and what each weight is worth, for tests of the kernels.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/backend/memory.h"
#include "core/util/random.h"
#include "kernels/backends.h"
#include "kernels/cuda/compiled/cuda_backend.h"
#include "kernels/cuda/packed_matrix.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/emulated_api.h"

namespace sage::test {

// SAGE_TEST_DEVICE=cuda: a real one; the tests of instances Kinds and those of whole products take any.
inline const cuda::DeviceBackend& device() {
  static const std::unique_ptr<Backend> backend = [] {
    const char* set = std::getenv("SAGE_TEST_DEVICE");
    const std::string name = set == nullptr ? "cuda_on_cpu" : set;
    if (std::getenv("SAGE_WITHOUT_CUBLAS") == nullptr) return make_backend(name);
    if (name == "cuda") return make_cuda_backend_without_products();
    return std::unique_ptr<Backend>(std::make_unique<cuda::DeviceBackend>(
        cuda::make_emulated_api(false), cuda::emulated_kernels(), cuda::Precision::kFloat32, cuda::kEmulatedSizes));
  }();
  return dynamic_cast<const cuda::DeviceBackend&>(*backend);
}

struct Kind {
  int groups = 1;
  double salient = 0;
  bool whole_columns = false;  // of salient weights
  bool shifts = false;
  bool rows_differ = false;
  int64_t block_columns = 0;
  bool column_scale = false;
  bool factors = false;
  int symbol_bits = 0;  // 0: as few as the alphabet needs
  std::string name() const {
    std::string s = fmt::format("k{}", groups);
    if (salient > 0) s += whole_columns ? "_columns" : "_salient";
    if (shifts) s += "_shifts";
    if (rows_differ) s += "_rows";
    if (block_columns > 0) s += fmt::format("_blocks{}", block_columns);
    if (column_scale) s += "_columnscale";
    if (factors) s += "_factors";
    if (symbol_bits > 0) s += "_bytes";
    return s;
  }
};

inline void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name(); }

struct Made {
  cuda::PackedPlanes planes;
  Matrix weights;  // what each is worth
  Matrix held;     // what the planes hold there; the difference is the salient list's
};

// Levels are multiples of 1/4 up to 1, factors powers of two: with small integers as activations, every sum any kernel can make
// is a number FP32 holds, so results must be equal in whatever order they are made.
inline Made make(int64_t rows, int64_t cols, const Kind& kind, uint64_t seed = 1) {
  Rng rng(seed, "packed " + kind.name());
  const auto quarters = [&](int most) { return static_cast<float>(rng.below(static_cast<uint64_t>(most) + 1)) / 4.0f; };
  const auto power = [&] { return std::ldexp(1.0f, static_cast<int>(rng.below(3)) - 1); };
  Made m{{}, Matrix(rows, cols), Matrix(rows, cols)};
  cuda::PackedPlanes& p = m.planes;
  p.rows = rows;
  p.cols = cols;
  p.groups = kind.groups;
  while ((1 << p.id_planes) < kind.groups)
    ++p.id_planes;
  p.block_columns = kind.block_columns;
  p.rows_differ = kind.rows_differ;
  const auto levels = static_cast<size_t>((kind.rows_differ ? rows : 1) * p.blocks() * kind.groups);
  for (size_t k = 0; k < levels; ++k) {
    p.scales.push_back(quarters(4));
    if (kind.shifts) p.shifts.push_back(quarters(2) - 0.25f);
  }
  for (int64_t j = 0; j < cols && kind.column_scale; ++j)
    p.column_scale.push_back(power());
  for (int64_t i = 0; i < rows && kind.factors; ++i)
    p.row_factor.push_back(power());
  for (int64_t j = 0; j < cols && kind.factors; ++j)
    p.column_factor.push_back(power());
  p.segments.push_back({0, cols, p.id_planes > 0});
  p.signs.width = kind.symbol_bits > 0 ? kind.symbol_bits : 1;
  p.ids.width = kind.symbol_bits > 0 ? kind.symbol_bits : std::max(p.id_planes, 1);

  const auto put = [](std::vector<std::byte>& to, int64_t bit, bool value) {
    to.resize(std::max(to.size(), static_cast<size_t>(bit / 8 + 1)));
    if (value) to[static_cast<size_t>(bit / 8)] |= std::byte{1} << (bit % 8);
  };
  std::vector<bool> column(static_cast<size_t>(cols));
  for (int64_t j = 0; j < cols; ++j)
    column[static_cast<size_t>(j)] = rng.uniform() < kind.salient;
  if (kind.salient > 0) {
    p.salient_pitch = kind.whole_columns ? 0 : cols;
    put(p.salient_bits, (kind.whole_columns ? 0 : rows - 1) * p.salient_pitch + cols - 1, false);
  }
  int64_t symbols = 0;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < cols; ++j) {
      const bool salient = kind.whole_columns ? column[static_cast<size_t>(j)] : rng.uniform() < kind.salient;
      const bool negative = !salient && rng.below(2) == 1;
      const int id = salient ? 0 : static_cast<int>(rng.below(static_cast<uint64_t>(kind.groups)));
      const int64_t block = kind.block_columns > 0 ? j / kind.block_columns : 0;
      const auto unit = static_cast<size_t>(((kind.rows_differ ? i * p.blocks() : 0) + block) * kind.groups + id);
      const float factor = kind.factors ? p.row_factor[static_cast<size_t>(i)] * p.column_factor[static_cast<size_t>(j)] : 1.0f;
      const float level = (negative ? -p.scales[unit] : p.scales[unit]) + (kind.shifts ? p.shifts[unit] : 0.0f);
      m.held(i, j) = level * (kind.column_scale ? p.column_scale[static_cast<size_t>(j)] : 1.0f) * factor;
      m.weights(i, j) = m.held(i, j);
      if (salient) {
        p.salient_values.push_back(quarters(16) - 2.0f);
        m.weights(i, j) = p.salient_values.back() * factor;
        put(p.salient_bits, i * p.salient_pitch + j, true);
        continue;
      }
      put(p.signs.bytes, symbols * p.signs.width, negative);
      put(p.signs.bytes, (symbols + 1) * p.signs.width - 1, p.signs.width == 1 && negative);
      for (int b = 0; b < p.ids.width && p.id_planes > 0; ++b)
        put(p.ids.bytes, symbols * p.ids.width + b, (id >> b & 1) != 0);
      ++symbols;
    }
  return m;
}

// T x cols small integers, 127 the largest magnitude of each row: int8 activations hold them as they are.
inline Matrix integers(int64_t vectors, int64_t cols, uint64_t seed = 2) {
  Rng rng(seed, "activations");
  Matrix x(vectors, cols);
  for (int64_t t = 0; t < vectors; ++t) {
    for (int64_t j = 0; j < cols; ++j)
      x(t, j) = static_cast<float>(rng.below(31)) - 15.0f;
    x(t, static_cast<int64_t>(rng.below(static_cast<uint64_t>(cols)))) = rng.below(2) == 1 ? 127.0f : -127.0f;
  }
  return x;
}
inline Matrix normals(int64_t vectors, int64_t cols, uint64_t seed = 3) {
  Rng rng(seed, "normal activations");
  Matrix x(vectors, cols);
  for (int64_t k = 0; k < x.size(); ++k)
    x.data()[k] = static_cast<float>(rng.normal());
  return x;
}

// sum_j w(i, j) x(t, j) and the sum of magnitudes, in double.
struct Dot {
  double value = 0, magnitude = 0;
};
inline Dot dot(WeightView w, int64_t i, WeightView x, int64_t t) {
  Dot d;
  for (int64_t j = 0; j < w.cols; ++j) {
    const double p = static_cast<double>(w(i, j)) * x(t, j);
    d.value += p;
    d.magnitude += std::fabs(p);
  }
  return d;
}

// FP32 sums of n products: far from both their worst case n 2^-24 and from a wrong weight.
inline double rounding(double magnitude, int64_t n) {
  return 1e-30 + magnitude * 0x1p-24 * (8 + std::sqrt(static_cast<double>(n)));
}

}  // namespace sage::test
