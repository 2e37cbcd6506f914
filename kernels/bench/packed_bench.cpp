// Products of a device with 1-bit matrices as they lie in a file (kernels/cuda/packed_matrix.h): one vector through each
// kernel, and 2048 vectors through dequantized panels. Signs are random; scales belong to rows (one group) or to four groups of
// single weights; a hundredth of the weights are salient. Figures are weights, not bytes: a kernel's bytes for each depend on
// the groups.
#include <fmt/format.h>

#include "core/util/random.h"
#include "kernels/bench/harness.h"
#include "kernels/cuda/packed_matrix.h"

namespace sage::bench {
namespace {

using cuda::Gemv;
using cuda::PackedMatrix;
using cuda::PackedPlanes;

const cuda::DeviceBackend* device() { return dynamic_cast<const cuda::DeviceBackend*>(&backend()); }

void set_bit(std::vector<std::byte>& bytes, int64_t k) { bytes[static_cast<size_t>(k / 8)] |= std::byte{1} << (k % 8); }

PackedPlanes random_planes(int64_t rows, int64_t cols, int groups) {
  PackedPlanes p;
  p.rows = rows;
  p.cols = cols;
  p.segments.push_back({0, cols, groups > 1});
  p.groups = groups;
  p.rows_differ = groups == 1;
  p.salient_pitch = cols;
  p.salient_bits.resize(static_cast<size_t>((rows * cols + 7) / 8));
  Rng rng(5, "packed");
  int64_t others = 0;
  for (int64_t k = 0; k < rows * cols; ++k) {
    if (rng.below(100) == 0) {
      set_bit(p.salient_bits, k);
      p.salient_values.push_back(static_cast<float>(rng.normal()));
    } else {
      ++others;
    }
  }
  p.signs.bytes.resize(static_cast<size_t>((others + 7) / 8));
  p.id_planes = groups > 1 ? 2 : 0;
  p.ids.width = 2;
  if (groups > 1) p.ids.bytes.resize(static_cast<size_t>((others + 3) / 4));
  for (std::byte& b : p.signs.bytes)
    b = static_cast<std::byte>(rng.below(256));
  for (std::byte& b : p.ids.bytes)
    b = static_cast<std::byte>(rng.below(256));
  // Symbols past the last weight are 0.
  if (others % 8 != 0) p.signs.bytes.back() &= static_cast<std::byte>((1u << (others % 8)) - 1);
  if (groups > 1 && others % 4 != 0) p.ids.bytes.back() &= static_cast<std::byte>((1u << (2 * (others % 4))) - 1);
  for (int64_t s = 0; s < (p.rows_differ ? rows : 1) * groups; ++s)
    p.scales.push_back(0.25f * static_cast<float>(1 + s % 4));
  return p;
}

struct Way {
  const char* name;
  Gemv kernel;
};

void add(int64_t rows, int64_t cols, int groups) {
  const std::string shape = fmt::format("groups{}/{}x{}", groups, rows, cols);
  for (const Way& way : {Way{"sign_flip", Gemv::kSignFlip}, Way{"popc", Gemv::kPopc}, Way{"tensor_core", Gemv::kTensorCore}})
    add_benchmark(fmt::format("packed/{}/{}", way.name, shape), 0.3, [=](benchmark::State& state) {
      const PackedMatrix w(*device(), random_planes(rows, cols, groups));
      const BackendMatrix x = placed(weights(1, cols, 31)), y(backend(), 1, rows);
      measure(state, Unit::kWeights, static_cast<double>(rows * cols), {}, [&] { w.multiply(x.view(), y.view(), way.kernel); });
    });
  const int64_t vectors = sized(2048, 17);
  add_benchmark(fmt::format("packed/panels_of_{}_vectors/{}", vectors, shape), 0.5, [=](benchmark::State& state) {
    const PackedMatrix w(*device(), random_planes(rows, cols, groups));
    const BackendMatrix x = placed(weights(vectors, cols, 32)), y(backend(), vectors, rows);
    measure(state, Unit::kOperations, 2.0 * static_cast<double>(vectors) * static_cast<double>(rows * cols), {},
            [&] { w.multiply(x.view(), y.view()); });
  });
}

}  // namespace

void register_packed() {
  if (device() == nullptr) return;
  for (const int groups : {1, 4}) {
    add(sized(4096, 32), sized(4096, 96), groups);
    add(sized(4096, 16), sized(11008, 160), groups);
  }
}

}  // namespace sage::bench
