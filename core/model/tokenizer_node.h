// A value of a tokenizer's JSON and where it stands, so that every message can name the place. Internal to the tokenizer_*.cpp
// files.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sage::tok {

using Json = nlohmann::json;

class Node {
 public:
  // `json` must outlive the node. A path that ends with a colon is a whole file.
  Node(const Json& json, std::string path) : json_(&json), path_(std::move(path)) {}
  const Json& json() const { return *json_; }
  const std::string& path() const { return path_; }
  bool null() const;
  bool is_text() const;
  bool is_list() const;
  bool is_object() const;

  // ResourceError "PATH: FOUND; expected EXPECTED; ...".
  [[noreturn]] void fail(const std::string& found, const std::string& expected) const;
  [[noreturn]] void unsupported(const std::string& type, const char* supported) const;
  // Values of one type; fail() where they have another.
  void need(bool ok, const char* expected) const;
  const std::string& text() const;
  bool boolean() const;
  int32_t id() const;   // 0 to 2^22 - 1
  size_t size() const;  // of a list
  std::vector<Node> items() const;
  void each(const std::function<void(const std::string& key, const Node& value)>& take) const;  // over an object
  Node at(const char* key) const;
  Node at(size_t index) const;
  Node get(const char* key) const;  // null where the key is absent
  bool flag(const char* key, bool fallback) const;

 private:
  std::string place() const;
  std::string child(const char* key) const;
  const Json* json_;
  std::string path_;
};

// ResourceError: not JSON, nested deeper than 32, more values than any published tokenizer has.
Json parse_json(std::string_view text, const std::string& name);

}  // namespace sage::tok
