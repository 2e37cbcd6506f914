#include "core/model/tokenizer_node.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/util/errors.h"
#include "core/util/file_kind.h"

namespace sage::tok {

namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxValues = 8'000'000;  // Gemma's quarter million tokens with half a million merges have two million
constexpr int32_t kMaxId = (1 << 22) - 1;

}  // namespace

bool Node::null() const { return json_->is_null(); }
bool Node::is_text() const { return json_->is_string(); }
bool Node::is_list() const { return json_->is_array(); }
bool Node::is_object() const { return json_->is_object(); }

std::string Node::place() const { return path_.back() == ':' ? path_.substr(0, path_.size() - 1) : path_; }

void Node::fail(const std::string& found, const std::string& expected) const {
  throw ResourceError("{}: {}; expected {}; get the file anew or correct it", place(), found, expected);
}

void Node::unsupported(const std::string& type, const char* supported) const {
  throw ResourceError("{}: type \"{}\" is not supported; expected one of {}; use a model whose tokenizer is a BPE of these parts",
                      place(), type, supported);
}

void Node::need(bool ok, const char* expected) const {
  if (!ok) fail(std::string("found ") + json_->type_name(), expected);
}

const std::string& Node::text() const {
  need(json_->is_string(), "a string");
  return json_->get_ref<const std::string&>();
}

bool Node::boolean() const {
  need(json_->is_boolean(), "true or false");
  return json_->get<bool>();
}

int32_t Node::id() const {
  need(json_->is_number_integer(), "a token id");
  const bool fits = json_->is_number_unsigned() && json_->get<uint64_t>() <= kMaxId;
  if (!fits) fail("id " + json_->dump(), fmt::format("an id from 0 to {}", kMaxId));
  return json_->get<int32_t>();
}

size_t Node::size() const {
  need(json_->is_array(), "a list");
  return json_->size();
}

std::vector<Node> Node::items() const {
  std::vector<Node> out;
  for (size_t i = 0; i < size(); ++i)
    out.push_back(at(i));
  return out;
}

void Node::each(const std::function<void(const std::string&, const Node&)>& take) const {
  need(json_->is_object(), "an object");
  for (const auto& [key, value] : json_->get_ref<const Json::object_t&>())
    take(key, Node(value, fmt::format("{}[\"{}\"]", path_, key.substr(0, 40))));
}

Node Node::at(const char* key) const {
  const Node found = get(key);
  if (found.null() && !json_->contains(key)) fail(fmt::format("key \"{}\" is missing", key), "it to be there");
  return found;
}

Node Node::at(size_t index) const {
  if (index >= size()) fail(fmt::format("found a list of {}", size()), fmt::format("at least {}", index + 1));
  return {(*json_)[index], fmt::format("{}[{}]", path_, index)};
}

Node Node::get(const char* key) const {
  static const Json kNull;
  need(json_->is_object(), "an object");
  const auto found = json_->find(key);
  return {found == json_->end() ? kNull : *found, child(key)};
}

bool Node::flag(const char* key, bool fallback) const {
  const Node n = get(key);
  return n.null() ? fallback : n.boolean();
}

std::string Node::child(const char* key) const { return path_.back() == ':' ? path_ + " " + key : path_ + "." + key; }

Json parse_json(std::string_view text, const std::string& name) {
  if (!text.starts_with('{'))
    refuse_other_kind(text.substr(0, 512), text.size(), name, "a file of a Hugging Face tokenizer (JSON)");
  size_t values = 0;
  const auto guard = [&](int depth, Json::parse_event_t event, Json&) {
    if (depth > kMaxDepth)
      throw ResourceError("{}: nested deeper than {}; expected a tokenizer's file; get the file anew", name, kMaxDepth);
    const bool counts = event == Json::parse_event_t::value || event == Json::parse_event_t::array_start ||
                        event == Json::parse_event_t::object_start;
    if (counts && ++values > kMaxValues)
      throw ResourceError("{}: more than {} values; expected a tokenizer's file; get the file anew", name, kMaxValues);
    return true;
  };
  try {
    return Json::parse(text, guard);
  } catch (const Json::exception& e) {
    std::string what = e.what();  // "[json.exception.parse_error.101] parse error at line 1, ..."
    if (const size_t close = what.find("] "); close != std::string::npos) what = what.substr(close + 2);
    throw ResourceError("{}: not JSON ({}); expected a file of a Hugging Face tokenizer; get the file anew", name, what);
  }
}

}  // namespace sage::tok
