#include "core/config/schema.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "core/config/text.h"
#include "core/util/errors.h"

namespace sage::config_detail {
namespace {

std::string found(const Value& v) {
  switch (v.kind()) {
    case Value::Kind::kNull: return "nothing";
    case Value::Kind::kList: return "a list";
    case Value::Kind::kMap: return "a map";
    case Value::Kind::kScalar: break;
  }
  return shown(v.text());
}

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& n : names)
    all += (all.empty() ? "" : ", ") + n;
  return all;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& names) {
  const std::string near = nearest_name(word, names);
  return near.empty() ? "" : fmt::format("; did you mean '{}'?", near);
}

[[noreturn]] void fail_type(const Value& v, const std::string& key, const char* expected) {
  throw UserError("{}: found {} for {}; expected {}", v.where().str(), found(v), key, expected);
}

}  // namespace

std::string shown(const std::string& text, char quote) {
  constexpr size_t kLimit = 80;
  std::string out;
  if (quote != '\0') out += quote;
  size_t end = std::min(text.size(), kLimit);
  // Do not cut a UTF-8 sequence in two.
  while (end < text.size() && end > kLimit - 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  for (size_t i = 0; i < end; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n')
      out += "\\n";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || c == 0x7f)
      out += fmt::format("\\x{:02x}", c);
    else
      out += text[i];
  }
  if (end < text.size()) out += "...";
  if (quote != '\0') out += quote;
  return out;
}

bool parse_bool(const Value& v, const std::string& key) {
  if (v.is_scalar() && v.text() == "true") return true;
  if (v.is_scalar() && v.text() == "false") return false;
  fail_type(v, key, "true or false");
}

int64_t parse_int(const Value& v, const std::string& key) {
  if (!v.is_scalar()) fail_type(v, key, "a whole number");
  const std::string& t = v.text();
  const char* begin = t.data() + (t.size() > 1 && t[0] == '+' && t[1] != '-' ? 1 : 0);
  int64_t n = 0;
  const auto [end, error] = std::from_chars(begin, t.data() + t.size(), n);
  if (error == std::errc::result_out_of_range) fail_type(v, key, "a whole number of at most 64 bits");
  if (error != std::errc() || end != t.data() + t.size()) fail_type(v, key, "a whole number");
  return n;
}

double parse_double(const Value& v, const std::string& key) {
  if (!v.is_scalar()) fail_type(v, key, "a number");
  const std::string& t = v.text();
  const char* begin = t.data() + (t.size() > 1 && t[0] == '+' && t[1] != '-' ? 1 : 0);
  double d = 0;
  const auto [end, error] = std::from_chars(begin, t.data() + t.size(), d);
  if (error == std::errc::result_out_of_range || (error == std::errc() && !std::isfinite(d)))
    fail_type(v, key, "a finite number");
  if (error != std::errc() || end != t.data() + t.size()) fail_type(v, key, "a number");
  return d;
}

std::string parse_text(const Value& v, const std::string& key) {
  if (!v.is_scalar()) fail_type(v, key, "a text");
  return v.text();
}

std::string format_number(double v) {
  char buffer[32];
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, v == 0 ? 0.0 : v);
  return error == std::errc() ? std::string(buffer, end) : fmt::format("{}", v);
}

void fail_range(const Value& v, const std::string& key, const std::string& constraint) {
  throw UserError("{}: found {} for {}; expected {}", v.where().str(), v.is_list() ? canonical_json(v) : found(v), key,
                  constraint);
}

void fail_choice(const Value& v, const std::string& key, const std::vector<std::string>& names) {
  throw UserError("{}: found {} for {}; expected one of: {}{}", v.where().str(), found(v), key, joined(names),
                  suggestion(v.text(), names));
}

void fail_unknown_key(const Value& v, const std::string& key, const std::string& section,
                      const std::vector<std::string>& known) {
  throw UserError("{}: unknown key {} in {}; expected {}{}", v.key_where().str(), shown(key), section,
                  known.empty() ? "no key at all" : "one of: " + joined(known), suggestion(key, known));
}

void fail_not_a_map(const Value& v, const std::string& section) {
  throw UserError("{}: found {} for {}; expected a map {{name: value, ...}}", v.where().str(), found(v), section);
}

void fail_not_a_list(const Value& v, const std::string& key) {
  throw UserError("{}: found {} for {}; expected a list [a, b, ...]", v.where().str(), found(v), key);
}

}  // namespace sage::config_detail
