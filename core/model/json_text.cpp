#include "core/model/json_text.h"

#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "core/model/safetensors_header.h"
#include "core/util/errors.h"
#include "core/util/file_kind.h"

namespace sage {

nlohmann::json parse_json_object(std::string_view text, const std::string& path) {
  using Json = nlohmann::json;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
    switch (event) {
      case Json::parse_event_t::object_start: keys.emplace_back(); [[fallthrough]];
      case Json::parse_event_t::array_start:
        if (depth >= kMaxJsonDepth)
          throw ResourceError("{}: nested deeper than {} levels; expected an ordinary configuration; check the file", path,
                              kMaxJsonDepth);
        break;
      case Json::parse_event_t::object_end: keys.pop_back(); break;
      case Json::parse_event_t::key:
        if (!keys.back().insert(value.get_ref<const std::string&>()).second)
          throw ResourceError("{}: key {} twice in one object; expected unique keys; check the file", path,
                              quoted_name(value.get_ref<const std::string&>()));
        break;
      default: break;
    }
    return true;
  };
  if (!text.starts_with('{')) refuse_other_kind(text.substr(0, 512), text.size(), path, "one UTF-8 JSON object");
  if (text.find('\0') != std::string_view::npos)  // the library would take it for the end
    throw ResourceError("{}: holds a NUL byte; expected one UTF-8 JSON object; check the file or fetch it again", path);
  Json json;
  try {
    json = Json::parse(text.begin(), text.end(), watch);
  } catch (const Json::exception& e) {
    throw ResourceError("{}: not valid JSON ({}); expected one UTF-8 JSON object; check the file or fetch it again", path,
                        e.what());
  }
  if (!json.is_object()) throw ResourceError("{}: {}; expected a JSON object; check the file", path, json_excerpt(json));
  return json;
}

std::string json_excerpt(const nlohmann::json& value) {
  if (value.is_object()) return fmt::format("an object of {} keys", value.size());
  if (value.is_array()) return fmt::format("a list of {} items", value.size());
  if (value.is_string()) return quoted_name(value.get_ref<const std::string&>());
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace sage
