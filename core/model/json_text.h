// JSON files from elsewhere, with limits: size, depth, no duplicate keys, and errors that name file and place.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace sage {

inline constexpr int kMaxJsonDepth = 64;
inline constexpr size_t kMaxConfigBytes = size_t{16} << 20;

// ResourceError "PATH: ..." for anything that is not one JSON object within the limits.
nlohmann::json parse_json_object(std::string_view text, const std::string& path);

// "found" of an error message: the value's text, cut short.
std::string json_excerpt(const nlohmann::json& value);

}  // namespace sage
