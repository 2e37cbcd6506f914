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

struct Packed {
  std::unique_ptr<sage::PipelineFactory> factory;
  sage::QuantizedMatrix good;
};

struct Fixed {
  sage::Registries registries;
  std::unique_ptr<sage::Backend> backend = sage::make_backend("reference");
  std::vector<Packed> packed;
  Fixed() {
    sage::register_builtin(registries);
    sage::Matrix w(24, 70), gram = sage::Matrix::zeros(70, 70);
    sage::Rng rng(1, "fuzz");
    for (int64_t i = 0; i < w.size(); ++i) w.data()[i] = static_cast<float>(rng.normal());
    for (int64_t j = 0; j < gram.cols(); ++j) gram(j, j) = static_cast<float>(1 + j * 37 % 70);
    const sage::LayerHessian hessian(gram.view(), {}, "fuzz");
    for (const char* pipeline :
         {"{transform: {type: scale}, saliency: sigma, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 3},"
          " quantizer: binary, salient_quantizer: {type: multibit, bits: 3}, coder: {salient_index: delta8, group_index: range}}",
          // Segments by activation: the file holds the segment of every column.
          "{saliency: hessian, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 2}, quantizer: {type: uniform, bits: 2},"
          " salient_quantizer: {type: residual_binary, order: 2}, compensator: gptq, column_order: activation, segment_columns: 24, block_columns: 24}"}) {
      Packed p;
      p.factory = std::make_unique<sage::PipelineFactory>(sage::canonical_pipeline(sage::parse_yaml(pipeline, "fuzz"), registries), registries);
      p.good = sage::quantize_matrix(*p.factory, {.weights = w.view(), .id = {0, "fuzz.weight"}, .hessian = &hessian}, *backend).packed;
      packed.push_back(std::move(p));
    }
  }
};

}  // namespace

// Input: plane number, mode, then bytes that replace the plane (even mode) or are laid over it (odd); bit 1 of the mode chooses
// the pipeline.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Fixed& fixed = *new Fixed;
  if (size < 2) return 0;
  const Packed& packed = fixed.packed[data[1] / 2 % fixed.packed.size()];
  sage::QuantizedMatrix q = packed.good;
  std::vector<std::byte>& bytes = q.planes[data[0] % q.planes.size()].bytes;
  const auto* begin = reinterpret_cast<const std::byte*>(data + 2);
  if (data[1] % 2 == 0) bytes.assign(begin, begin + (size - 2));
  else
    for (size_t i = 0; i + 2 < size && i < bytes.size(); ++i) bytes[i] ^= begin[i];
  try {
    sage::decode_matrix(*packed.factory, q, "fuzz.weight", *fixed.backend);
  } catch (const sage::ResourceError&) {
  }
  return 0;
}
