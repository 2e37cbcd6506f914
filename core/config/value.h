// A configuration tree that remembers where every node was written, so that errors can say file:line:column.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sage {

// Where a configuration node came from. `file` may also be "--set" or "preset sage_paper".
struct Where {
  std::string file;
  int line = 0;    // 1-based; 0 = the source has no lines
  int column = 0;  // 1-based
  std::string str() const;  // "configs/x.yaml:9:42"
};

// Scalars stay text until a Schema gives them a type, so that 1e-5 never becomes a string by accident.
class Value {
 public:
  enum class Kind { kNull, kScalar, kList, kMap };
  using Member = std::pair<std::string, Value>;

  static Value null() { return {}; }
  static Value scalar(std::string text, Where where = {}, bool quoted = false);
  static Value list(Where where = {});
  static Value map(Where where = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_scalar() const { return kind_ == Kind::kScalar; }
  bool is_list() const { return kind_ == Kind::kList; }
  bool is_map() const { return kind_ == Kind::kMap; }
  const std::string& text() const { return text_; }  // scalars only
  bool quoted() const { return quoted_; }
  const Where& where() const { return where_; }
  void set_where(Where w) { where_ = std::move(w); }
  const Where& key_where() const { return key_where_.file.empty() ? where_ : key_where_; }  // of its key, for members of a map
  void set_key_where(Where w) { key_where_ = std::move(w); }

  const std::vector<Value>& items() const { return items_; }
  std::vector<Value>& items() { return items_; }
  const std::vector<Member>& members() const { return members_; }  // in the order written
  std::vector<Member>& members() { return members_; }

  const Value* find(std::string_view key) const;  // direct member, nullptr if absent
  Value* find(std::string_view key);
  const Value* find_path(std::string_view dotted) const;  // "pipeline.saliency.type"
  void set(std::string key, Value v);                      // replaces or appends
  bool erase(std::string_view key);

 private:
  Kind kind_ = Kind::kNull;
  bool quoted_ = false;
  std::string text_;
  std::vector<Value> items_;
  std::vector<Member> members_;
  Where where_;
  Where key_where_;
};

// YAML text -> tree. Errors (syntax, duplicate keys, control characters, nesting beyond kMaxYamlDepth, more than kMaxYamlNodes
// nodes after aliases are expanded, texts above kMaxYamlBytes) are UserErrors with file:line:column.
inline constexpr int kMaxYamlDepth = 64;
inline constexpr size_t kMaxYamlBytes = size_t{1} << 20;
inline constexpr size_t kMaxYamlNodes = 200000;
Value parse_yaml(std::string_view text, const std::string& file);
Value parse_yaml_file(const std::string& path);

// Maps merge key by key, lists and scalars replace. A map whose `type` changes replaces the old block whole, so that no
// parameter of the old component stays behind.
void merge_into(Value& base, const Value& over);
// Applies "a.b.c=value" (the value is YAML, so lists and maps work); creates missing maps on the way.
void apply_override(Value& root, std::string_view assignment);

// Puts `v` at the dotted path with the rules of merge_into; creates missing maps on the way. A number names an existing list
// entry ("eval.0.windows").
void set_path(Value& root, std::string_view dotted, const Value& v);
// The path and the value of "a.b.c=value"; every node says it comes from "--set a.b.c=value".
std::pair<std::string, Value> parse_override(std::string_view assignment);

// Canonical text: JSON with sorted keys; numbers as written by the schema. The run key is a digest of it.
std::string canonical_json(const Value& v);
// YAML as a person would write it; with_origins appends "# file:line" comments.
std::string to_yaml(const Value& v, bool with_origins = false);

// The candidate closest to `word` (Damerau-Levenshtein, at most a third of its length away), or "" if none is near.
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace sage
