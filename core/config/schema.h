// Typed parameters of a component or section, declared once:
//
//   struct Params { double ratio = 0.01; int bits = 4; };
//   static Schema<Params> schema() {
//     return Schema<Params>{}
//         .add("ratio", &Params::ratio, range(0.0, 0.5), "Share of weights kept.")
//         .add("bits", &Params::bits, range(2, 8), "Code width of a salient weight, bits.");
//   }
//
// Listing, help, validation, canonical defaults and the README tables all come from this.
// Field types: bool, int, int64_t, double, std::string, enums (with choices), std::vector<int>, std::vector<double>,
// std::optional<int|double>.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/config/value.h"

namespace sage {

// What help, completion and the README print about one parameter.
struct ParamInfo {
  std::string name;
  std::string type;           // "int", "number", "bool", "text", "choice", "list of int", ...
  std::string default_value;  // canonical text; "-" for an absent optional
  std::string constraint;     // "0 .. 0.5", "midrise | midtread | offset", ""
  std::string doc;
};

template <class T>
struct Range {
  T low;
  T high;
};
template <class T>
Range<T> range(T low, T high) {
  return {low, high};
}
template <class E>
struct Choices {
  std::vector<std::pair<std::string, E>> names;
};
template <class E>
Choices<E> choices(std::vector<std::pair<std::string, E>> names) {
  return {std::move(names)};
}

namespace config_detail {
// Text <-> value. Each throws UserError "where: found 'x' for KEY; expected TYPE in CONSTRAINT; ..." on a mismatch.
bool parse_bool(const Value& v, const std::string& key);
int64_t parse_int(const Value& v, const std::string& key);
double parse_double(const Value& v, const std::string& key);
std::string parse_text(const Value& v, const std::string& key);
std::string format_number(double v);  // shortest text that reads back equal
[[noreturn]] void fail_range(const Value& v, const std::string& key, const std::string& constraint);
[[noreturn]] void fail_choice(const Value& v, const std::string& key, const std::vector<std::string>& names);
[[noreturn]] void fail_unknown_key(const Value& v, const std::string& key, const std::string& section,
                                   const std::vector<std::string>& known);
[[noreturn]] void fail_not_a_map(const Value& v, const std::string& section);
[[noreturn]] void fail_not_a_list(const Value& v, const std::string& key);

template <class T>
std::string to_text(const T& v) {
  if constexpr (std::is_same_v<T, bool>) return v ? "true" : "false";
  else if constexpr (std::is_integral_v<T>) return std::to_string(v);
  else if constexpr (std::is_floating_point_v<T>) return format_number(static_cast<double>(v));
  else return v;
}
template <class T>
T parse_scalar(const Value& v, const std::string& key) {
  if constexpr (std::is_same_v<T, bool>) return parse_bool(v, key);
  else if constexpr (std::is_integral_v<T>) {
    const int64_t n = parse_int(v, key);
    if (n < static_cast<int64_t>(std::numeric_limits<T>::min()) || n > static_cast<int64_t>(std::numeric_limits<T>::max()))
      fail_range(v, key, "a " + std::to_string(sizeof(T) * 8) + "-bit integer");
    return static_cast<T>(n);
  } else if constexpr (std::is_floating_point_v<T>) return static_cast<T>(parse_double(v, key));
  else return parse_text(v, key);
}
template <class T>
constexpr const char* type_name() {
  if constexpr (std::is_same_v<T, bool>) return "bool";
  else if constexpr (std::is_integral_v<T>) return "int";
  else if constexpr (std::is_floating_point_v<T>) return "number";
  else return "text";
}
}  // namespace config_detail

template <class P>
class Schema {
 public:
  // Plain scalar or optional scalar without constraint.
  template <class T>
  Schema& add(std::string name, T P::*field, std::string doc) {
    return add_field(std::move(name), field, "", std::move(doc), [](const T&) { return true; });
  }
  // Number inside [low, high].
  template <class T, class R>
  Schema& add(std::string name, T P::*field, Range<R> r, std::string doc) {
    std::string constraint = config_detail::to_text(r.low);
    constraint.append(" .. ").append(config_detail::to_text(r.high));
    return add_field(std::move(name), field, constraint, std::move(doc), [r](const T& v) { return inside(v, r); });
  }
  // One of a fixed set of names.
  template <class E>
  Schema& add(std::string name, E P::*field, Choices<E> c, std::string doc) {
    std::vector<std::string> names;
    std::string constraint;
    for (const auto& [n, e] : c.names) {
      names.push_back(n);
      constraint += (constraint.empty() ? "" : " | ") + n;
    }
    Field f;
    f.info = {name, "choice", "", constraint, std::move(doc)};
    f.parse = [field, c, name, names](P& p, const Value& v) {
      const std::string text = config_detail::parse_text(v, name);
      for (const auto& [n, e] : c.names)
        if (n == text) {
          p.*field = e;
          return;
        }
      config_detail::fail_choice(v, name, names);
    };
    f.print = [field, c](const P& p) {
      for (const auto& [n, e] : c.names)
        if (e == p.*field) return Value::scalar(n);
      return Value::null();
    };
    return push(std::move(f));
  }

  // Reads a map block. `section` names it in messages ("pipeline.saliency (sigma)"); keys in `also_allowed` ("type") are skipped.
  P parse(const Value& block, const std::string& section, const std::vector<std::string>& also_allowed = {}) const {
    P p{};
    if (block.is_null()) return p;
    if (!block.is_map()) config_detail::fail_not_a_map(block, section);
    for (const auto& [key, value] : block.members()) {
      bool allowed = false;
      for (const auto& a : also_allowed) allowed |= a == key;
      if (allowed) continue;
      const Field* found = nullptr;
      for (const Field& f : fields_)
        if (f.info.name == key) found = &f;
      if (found == nullptr) {
        std::vector<std::string> known = names();
        known.insert(known.end(), also_allowed.begin(), also_allowed.end());
        config_detail::fail_unknown_key(value, key, section, known);
      }
      found->parse(p, value);
    }
    return p;
  }
  // All parameters, defaults included, as a canonical map.
  Value print(const P& p) const {
    Value m = Value::map();
    for (const Field& f : fields_) m.set(f.info.name, f.print(p));
    return m;
  }
  std::vector<ParamInfo> info() const {
    std::vector<ParamInfo> out;
    const P defaults{};
    for (const Field& f : fields_) {
      out.push_back(f.info);
      const Value v = f.print(defaults);
      out.back().default_value = v.is_null() ? "-" : v.is_scalar() ? v.text() : canonical_json(v);
    }
    return out;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const Field& f : fields_) out.push_back(f.info.name);
    return out;
  }

 private:
  struct Field {
    ParamInfo info;
    std::function<void(P&, const Value&)> parse;
    std::function<Value(const P&)> print;
  };
  template <class T>
  struct Unwrap {
    using type = T;
    static constexpr bool optional = false, list = false;
  };
  template <class T>
  struct Unwrap<std::optional<T>> {
    using type = T;
    static constexpr bool optional = true, list = false;
  };
  template <class T>
  struct Unwrap<std::vector<T>> {
    using type = T;
    static constexpr bool optional = false, list = true;
  };
  template <class T, class R>
  static bool inside(const T& v, const Range<R>& r) {
    if constexpr (Unwrap<T>::optional) return !v || inside(*v, r);
    else if constexpr (Unwrap<T>::list) {
      for (const auto& x : v)
        if (!inside(x, r)) return false;
      return true;
    } else return v >= static_cast<T>(r.low) && v <= static_cast<T>(r.high);
  }
  template <class T, class Check>
  Schema& add_field(std::string name, T P::*field, std::string constraint, std::string doc, Check ok) {
    using U = Unwrap<T>;
    using S = typename U::type;
    Field f;
    f.info = {name, std::string(U::list ? "list of " : "") + config_detail::type_name<S>(), "", constraint, std::move(doc)};
    f.parse = [field, name, constraint, ok](P& p, const Value& v) {
      T value{};
      if constexpr (U::list) {
        if (!v.is_list()) config_detail::fail_not_a_list(v, name);
        for (const Value& item : v.items()) value.push_back(config_detail::parse_scalar<S>(item, name));
      } else if constexpr (U::optional) {
        if (!v.is_null()) value = config_detail::parse_scalar<S>(v, name);
      } else {
        value = config_detail::parse_scalar<S>(v, name);
      }
      if (!ok(value)) config_detail::fail_range(v, name, constraint);
      p.*field = std::move(value);
    };
    f.print = [field](const P& p) {
      const T& value = p.*field;
      if constexpr (U::list) {
        Value l = Value::list();
        for (const auto& x : value) l.items().push_back(Value::scalar(config_detail::to_text(static_cast<S>(x))));
        return l;
      } else if constexpr (U::optional) {
        return value ? Value::scalar(config_detail::to_text(*value)) : Value::null();
      } else {
        return Value::scalar(config_detail::to_text(value));
      }
    };
    return push(std::move(f));
  }
  Schema& push(Field f) {
    fields_.push_back(std::move(f));
    return *this;
  }
  std::vector<Field> fields_;
};

}  // namespace sage
