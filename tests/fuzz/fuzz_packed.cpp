// Arbitrary bytes as the planes of a packed matrix: decoding ends in a matrix or in a ResourceError.
#include <cstddef>
#include <cstdint>
#include <string>

#include "core/pipeline/matrix_engine.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/errors.h"
#include "kernels/backends.h"
#include "strategies/builtin.h"

namespace {

struct Fixed {
  sage::Registries registries;
  std::unique_ptr<sage::Backend> backend = sage::make_backend("reference");
  std::unique_ptr<sage::PipelineFactory> factory;
  sage::QuantizedMatrix good;
  Fixed() {
    sage::register_builtin(registries);
    factory = std::make_unique<sage::PipelineFactory>(
        sage::canonical_pipeline(sage::parse_yaml("{transform: {type: scale}, saliency: sigma, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 3},"
                                                  " quantizer: binary, salient_quantizer: {type: multibit, bits: 3}, coder: {salient_index: delta8, group_index: range}}",
                                                  "fuzz"),
                                 registries),
        registries);
    sage::Matrix w(24, 70);
    sage::Rng rng(1, "fuzz");
    for (int64_t i = 0; i < w.size(); ++i) w.data()[i] = static_cast<float>(rng.normal());
    good = sage::quantize_matrix(*factory, {w.view(), {0, "fuzz.weight"}, 0, nullptr, nullptr}, *backend).packed;
  }
};

}  // namespace

// Input: plane number, mode, then bytes that replace the plane (even mode) or are laid over it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Fixed& fixed = *new Fixed;
  if (size < 2) return 0;
  sage::QuantizedMatrix q = fixed.good;
  std::vector<std::byte>& bytes = q.planes[data[0] % q.planes.size()].bytes;
  const auto* begin = reinterpret_cast<const std::byte*>(data + 2);
  if (data[1] % 2 == 0) bytes.assign(begin, begin + (size - 2));
  else
    for (size_t i = 0; i + 2 < size && i < bytes.size(); ++i) bytes[i] ^= begin[i];
  try {
    sage::decode_matrix(*fixed.factory, q, "fuzz.weight", *fixed.backend);
  } catch (const sage::ResourceError&) {
  }
  return 0;
}
