// Any bytes as a safetensors file: a clear error, or tensors whose bytes can all be read.
// Links: sage_model
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/model/safetensors.h"
#include "core/util/errors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sage;
  try {
    const SafetensorsFile file = SafetensorsFile::from_memory(std::as_bytes(std::span(data, size)), "fuzz");
    uint64_t covered = 0;
    volatile unsigned char last = 0;
    for (const TensorInfo& t : file.tensors()) {
      const auto bytes = file.bytes(t);
      if (bytes.size() != t.bytes() || static_cast<uint64_t>(t.elements()) * dtype_bytes(t.dtype) != t.bytes()) std::abort();
      if (!bytes.empty()) last = std::to_integer<unsigned char>(bytes.back());
      covered += bytes.size();
      try {
        file.load_doubles(t.name);
        file.load_vector(t.name);
      } catch (const ResourceError&) {
      }
      try {
        file.load_integers(t.name);
        file.load_matrix(t.name);
      } catch (const ResourceError&) {
      }
    }
    (void)last;
    if (covered != file.payload_bytes()) std::abort();
  } catch (const ResourceError&) {
  }
  return 0;
}
