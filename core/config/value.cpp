#include "core/config/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/util/errors.h"

namespace sage {

std::string Where::str() const {
  if (line <= 0) return file.empty() ? "built-in default" : file;
  return fmt::format("{}:{}:{}", file, line, column);
}

Value Value::scalar(std::string text, Where where, bool quoted) {
  Value v;
  v.kind_ = Kind::kScalar;
  v.text_ = std::move(text);
  v.quoted_ = quoted;
  v.where_ = std::move(where);
  return v;
}

Value Value::list(Where where) {
  Value v;
  v.kind_ = Kind::kList;
  v.where_ = std::move(where);
  return v;
}

Value Value::map(Where where) {
  Value v;
  v.kind_ = Kind::kMap;
  v.where_ = std::move(where);
  return v;
}

const Value* Value::find(std::string_view key) const {
  for (const Member& m : members_)
    if (m.first == key) return &m.second;
  return nullptr;
}

Value* Value::find(std::string_view key) { return const_cast<Value*>(std::as_const(*this).find(key)); }

const Value* Value::find_path(std::string_view dotted) const {
  const Value* at = this;
  while (at != nullptr && !dotted.empty()) {
    const size_t dot = dotted.find('.');
    const std::string_view part = dotted.substr(0, dot);
    if (at->is_list()) {
      size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      at = error == std::errc() && end == part.data() + part.size() && index < at->items_.size() ? &at->items_[index] : nullptr;
    } else {
      at = at->find(part);
    }
    dotted = dot == std::string_view::npos ? std::string_view{} : dotted.substr(dot + 1);
  }
  return at;
}

void Value::set(std::string key, Value v) {
  kind_ = Kind::kMap;
  if (Value* old = find(key)) {
    *old = std::move(v);
    return;
  }
  members_.emplace_back(std::move(key), std::move(v));
}

bool Value::erase(std::string_view key) {
  const auto it = std::find_if(members_.begin(), members_.end(), [&](const Member& m) { return m.first == key; });
  if (it == members_.end()) return false;
  members_.erase(it);
  return true;
}

void merge_into(Value& base, const Value& over) {
  if (!base.is_map() || !over.is_map()) {
    base = over;
    return;
  }
  const Value* old_type = base.find("type");
  const Value* new_type = over.find("type");
  if (new_type != nullptr && new_type->is_scalar() &&
      (old_type == nullptr || !old_type->is_scalar() || old_type->text() != new_type->text())) {
    base = over;
    return;
  }
  for (const auto& [key, value] : over.members()) {
    if (Value* old = base.find(key))
      merge_into(*old, value);
    else
      base.set(key, value);
  }
}

void set_path(Value& root, std::string_view dotted, const Value& v) {
  const std::string path(dotted);
  // A block of one entry merged into its parent, so that a changed `type` replaces the whole block here too.
  Value* at = &root;
  std::string_view rest = dotted;
  std::string walked;
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    if (part.empty())
      throw UserError("{}: the path '{}' has an empty part; expected names joined by dots, e.g. pipeline.grouping.groups",
                      v.where().str(), path);
    if (at->is_null()) *at = Value::map(v.where());
    if (at->is_scalar())
      throw UserError("{}: '{}' cannot be set, because {} is '{}' ({}); set {} itself first", v.where().str(), path, walked,
                      at->text(), at->where().str(), walked);
    const bool last = dot == std::string_view::npos;
    if (at->is_list()) {
      size_t index = 0;
      const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
      if (error != std::errc() || end != part.data() + part.size() || index >= at->items().size())
        throw UserError("{}: no entry '{}' in the list {}; expected a number from 0 to {}", v.where().str(), part,
                        walked.empty() ? "at the top" : walked, static_cast<int64_t>(at->items().size()) - 1);
      Value& item = at->items()[index];
      if (last) {
        merge_into(item, v);
        return;
      }
      at = &item;
    } else if (last) {
      Value block = Value::map(v.where());
      block.set(part, v);
      merge_into(*at, block);
      return;
    } else {
      if (at->find(part) == nullptr) at->set(part, Value::map(v.where()));
      at = at->find(part);
    }
    walked += (walked.empty() ? "" : ".") + part;
    rest = rest.substr(dot + 1);
  }
}

void apply_override(Value& root, std::string_view assignment) {
  const auto [path, value] = parse_override(assignment);
  set_path(root, path, value);
}

}  // namespace sage
