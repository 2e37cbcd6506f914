// The JSON header of a safetensors file, read without building a tree: depth, names and sizes are checked as they arrive.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/safetensors.h"

namespace sage {

// As large as the official library allows.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  // in payload order
  std::map<std::string, std::string> metadata;
};

// Throws ResourceError for anything safetensors.h does not allow; payload_bytes is what follows the header in the file.
SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t payload_bytes, const std::string& path);

// shape x dtype in bytes; false on overflow, on a negative size, or beyond 2^62.
bool tensor_bytes(const std::vector<int64_t>& shape, DType dtype, uint64_t* out);

// A name from an untrusted file, fit for a message: quoted, control characters escaped, cut after 120 characters.
std::string quoted_name(std::string_view name);

}  // namespace sage
