// Name -> component, filled by explicit calls in strategies/builtin.cpp (never by static initialisers).
//
// A component class C of interface I declares
//   struct Params;  static constexpr auto kName, kDoc;  static constexpr int kVersion;  static constexpr Citation kReference;
//   static Schema<Params> schema();  explicit C(Params);
// and is registered by one line: registries.saliency.add<C>(). A missing member does not compile.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/config/schema.h"
#include "core/config/value.h"
#include "core/util/errors.h"

namespace sage {

// Where a component comes from: "SAGE-PTQ", "arXiv:2606.05429", "Eq. 3". Empty fields mean our own or textbook material.
struct Citation {
  const char* work = "";
  const char* id = "";
  const char* place = "";
};

struct ComponentInfo {
  std::string kind;  // "saliency", "grouping", ...
  std::string name;
  int version = 0;
  std::string doc;
  std::string reference;
  std::vector<ParamInfo> params;
};

template <class I>
class Registry {
 public:
  explicit Registry(std::string kind) : kind_(std::move(kind)) {}

  template <class C>
  void add() {
    static_assert(std::is_base_of_v<I, C>, "a component must implement the interface of its registry");
    Entry e;
    const Citation ref = C::kReference;
    std::string reference = ref.work;
    for (const char* part : {ref.id, ref.place})
      if (*part != '\0') reference += std::string(reference.empty() ? "" : ", ") + part;
    e.info = {kind_, C::kName, C::kVersion, C::kDoc, reference, C::schema().info()};
    const std::string kind = kind_;
    e.make = [kind](const Value& block, const std::string& section) -> std::unique_ptr<I> {
      return std::make_unique<C>(C::schema().parse(block, fmt::format("{} ({})", section, C::kName), {"type"}));
    };
    e.canonical = [](const Value& block, const std::string& section) {
      Value m = C::schema().print(C::schema().parse(block, fmt::format("{} ({})", section, C::kName), {"type"}));
      m.members().insert(m.members().begin(), {"type", Value::scalar(C::kName)});
      return m;
    };
    for (const Entry& other : entries_)
      if (other.info.name == e.info.name)
        throw Error(ExitCode::kInternalError, fmt::format("registry {}: '{}' is registered twice", kind_, e.info.name));
    entries_.push_back(std::move(e));
  }

  // Makes the component a block {type: NAME, parameter: value, ...} asks for. A bare scalar NAME means all defaults.
  std::unique_ptr<I> make(const Value& block, const std::string& section) const {
    return entry(block, section).make(block.is_scalar() ? Value::null() : block, section);
  }
  // The block with every default filled in.
  Value canonical(const Value& block, const std::string& section) const {
    return entry(block, section).canonical(block.is_scalar() ? Value::null() : block, section);
  }
  const ComponentInfo& info(const Value& block, const std::string& section) const { return entry(block, section).info; }
  const std::string& kind() const { return kind_; }
  std::vector<ComponentInfo> list() const {
    std::vector<ComponentInfo> out;
    for (const Entry& e : entries_) out.push_back(e.info);
    return out;
  }

 private:
  struct Entry {
    ComponentInfo info;
    std::function<std::unique_ptr<I>(const Value&, const std::string&)> make;
    std::function<Value(const Value&, const std::string&)> canonical;
  };
  const Entry& entry(const Value& block, const std::string& section) const {
    const Value* type = block.is_map() ? block.find("type") : block.is_scalar() ? &block : nullptr;
    std::vector<std::string> names;
    std::string all;
    for (const Entry& e : entries_) {
      names.push_back(e.info.name);
      all += (all.empty() ? "" : ", ") + e.info.name;
    }
    if (type == nullptr || !type->is_scalar())
      throw UserError("{}: {} has no 'type'; expected {{type: NAME, ...}} with NAME one of: {}", block.where().str(), section, all);
    for (const Entry& e : entries_)
      if (e.info.name == type->text()) return e;
    const std::string near = nearest_name(type->text(), names);
    throw UserError("{}: unknown {} '{}' in {}; expected one of: {}{}", type->where().str(), kind_, type->text(), section, all,
                    near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
  }
  std::string kind_;
  std::vector<Entry> entries_;
};

}  // namespace sage
