#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/config/value.h"

namespace sage {
namespace {

// Exactly the numbers of JSON's grammar: 01, .5 and inf stay texts.
bool is_json_number(const std::string& t) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t start = i;
    while (i < t.size() && t[i] >= '0' && t[i] <= '9')
      ++i;
    return i > start;
  };
  if (i < t.size() && t[i] == '-') ++i;
  if (i < t.size() && t[i] == '0')
    ++i;
  else if (!digits())
    return false;
  if (i < t.size() && t[i] == '.') {
    ++i;
    if (!digits()) return false;
  }
  if (i < t.size() && (t[i] == 'e' || t[i] == 'E')) {
    ++i;
    if (i < t.size() && (t[i] == '+' || t[i] == '-')) ++i;
    if (!digits()) return false;
  }
  return i == t.size() && !t.empty();
}

std::string json_text(const std::string& t) {
  return nlohmann::json(t).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void append(const Value& v, std::string& out) {
  switch (v.kind()) {
    case Value::Kind::kNull: out += "null"; return;
    case Value::Kind::kScalar: {
      const std::string& t = v.text();
      const bool bare = !v.quoted() && (t == "true" || t == "false" || is_json_number(t));
      out += bare ? t : json_text(t);
      return;
    }
    case Value::Kind::kList: {
      out += '[';
      for (size_t i = 0; i < v.items().size(); ++i) {
        if (i > 0) out += ',';
        append(v.items()[i], out);
      }
      out += ']';
      return;
    }
    case Value::Kind::kMap: {
      std::vector<const Value::Member*> sorted;
      for (const auto& m : v.members())
        sorted.push_back(&m);
      std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
      out += '{';
      for (size_t i = 0; i < sorted.size(); ++i) {
        if (i > 0) out += ',';
        out += json_text(sorted[i]->first) + ":";
        append(sorted[i]->second, out);
      }
      out += '}';
      return;
    }
  }
}

}  // namespace

std::string canonical_json(const Value& v) {
  std::string out;
  append(v, out);
  return out;
}

}  // namespace sage
