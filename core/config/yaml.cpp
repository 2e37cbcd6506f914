// YAML through yaml-cpp's events. Its node tree is not used: events carry the marks, let limits act before memory is spent, and
// show duplicate keys and every use of an alias.
#include <fmt/format.h>
#include <yaml-cpp/emitter.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "core/config/text.h"
#include "core/config/value.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {
namespace {

using config_detail::shown;

class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(std::string file) : file_(std::move(file)) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Value v;
    v.set_where(where(mark));
    add(std::move(v), anchor, mark);
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& text) override {
    check_tag(tag, mark);
    add(Value::scalar(text, where(mark), tag == "!"), anchor, mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_tag(tag, mark);
    open(Value::list(where(mark)), anchor, mark);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    check_tag(tag, mark);
    open(Value::map(where(mark)), anchor, mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapEnd() override { close(); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end())
      throw UserError("{}: an alias refers to the block that contains it; expected an alias of a finished block", at(mark));
    if (static_cast<int>(stack_.size()) + it->second.depth > kMaxYamlDepth) too_deep(mark);
    count(it->second.nodes, mark);
    // The copy keeps the anchor's marks: that is where a wrong value has to be corrected.
    place(it->second.value, mark, it->second.nodes, it->second.depth);
  }

  Value take() { return std::move(root_); }

 private:
  struct Frame {
    Value value;
    std::string key;
    Where key_where;
    bool has_key = false;
    std::unordered_set<std::string> keys;
    YAML::anchor_t anchor = 0;
    size_t nodes = 1;
    int depth = 1;
  };
  struct Anchored {
    Value value;
    size_t nodes = 1;
    int depth = 0;
  };

  Where where(const YAML::Mark& mark) const { return {file_, mark.line + 1, mark.column + 1}; }
  std::string at(const YAML::Mark& mark) const { return where(mark).str(); }
  [[noreturn]] void too_deep(const YAML::Mark& mark) const {
    throw UserError("{}: nested deeper than {} levels; expected an experiment file, which needs fewer than ten", at(mark),
                    kMaxYamlDepth);
  }
  void check_tag(const std::string& tag, const YAML::Mark& mark) const {
    if (tag.empty() || tag == "!" || tag == "?") return;
    throw UserError("{}: the tag {} is not supported; expected a plain value", at(mark), shown(tag));
  }
  void count(size_t more, const YAML::Mark& mark) {
    nodes_ += more;
    if (nodes_ > kMaxYamlNodes)
      throw UserError("{}: more than {} values once aliases are expanded; expected an experiment file", at(mark),
                      kMaxYamlNodes);
  }
  void open(Value v, YAML::anchor_t anchor, const YAML::Mark& mark) {
    if (static_cast<int>(stack_.size()) >= kMaxYamlDepth) too_deep(mark);
    if (!stack_.empty() && stack_.back().value.is_map() && !stack_.back().has_key) bad_key(mark);
    count(1, mark);
    Frame f;
    f.value = std::move(v);
    f.anchor = anchor;
    stack_.push_back(std::move(f));
    marks_.push_back(mark);
  }
  void close() {
    Frame f = std::move(stack_.back());
    const YAML::Mark mark = marks_.back();
    stack_.pop_back();
    marks_.pop_back();
    if (f.anchor != 0) anchors_[f.anchor] = {f.value, f.nodes, f.depth};
    place(std::move(f.value), mark, f.nodes, f.depth);
  }
  void add(Value v, YAML::anchor_t anchor, const YAML::Mark& mark) {
    count(1, mark);
    if (anchor != 0) anchors_[anchor] = {v, 1, 0};
    place(std::move(v), mark, 1, 0);
  }
  [[noreturn]] void bad_key(const YAML::Mark& mark) const {
    throw UserError("{}: a key that is not a plain text; expected `name: value`", at(mark));
  }
  void place(Value v, const YAML::Mark& mark, size_t nodes, int depth) {
    if (stack_.empty()) {
      root_ = std::move(v);
      return;
    }
    Frame& f = stack_.back();
    f.nodes += nodes;
    f.depth = std::max(f.depth, depth + 1);
    if (f.value.is_list()) {
      f.value.items().push_back(std::move(v));
      return;
    }
    if (!f.has_key) {
      // A plain null is how YAML reads the key `~`; nothing here has such a name.
      if (!v.is_scalar()) bad_key(mark);
      if (!f.keys.insert(v.text()).second) {
        const Value* first = f.value.find(v.text());
        throw UserError("{}: the key {} is given twice; expected one (the first is at {}); remove one of them", at(mark),
                        shown(v.text()), first == nullptr ? std::string("an earlier line") : first->key_where().str());
      }
      f.key = v.text();
      f.key_where = v.where();
      f.has_key = true;
      return;
    }
    v.set_key_where(std::move(f.key_where));
    f.value.members().emplace_back(std::move(f.key), std::move(v));
    f.has_key = false;
  }

  std::string file_;
  Value root_;
  std::vector<Frame> stack_;
  std::vector<YAML::Mark> marks_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  size_t nodes_ = 0;
};

// Bytes of the UTF-8 character `s` begins with; 0 if there is none.
size_t utf8_length(std::string_view s) {
  const auto at = [&](size_t i) { return i < s.size() ? static_cast<unsigned char>(s[i]) : 0u; };
  const auto more = [&](size_t i) { return (at(i) & 0xc0u) == 0x80u; };
  const unsigned first = at(0), second = at(1);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return more(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool overlong = first == 0xe0 && second < 0xa0, surrogate = first == 0xed && second > 0x9f;
    return more(1) && more(2) && !overlong && !surrogate ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool overlong = first == 0xf0 && second < 0x90, beyond = first == 0xf4 && second > 0x8f;
    return more(1) && more(2) && more(3) && !overlong && !beyond ? 4 : 0;
  }
  return 0;
}

void check_bytes(std::string_view text, const std::string& file) {
  if (text.size() > kMaxYamlBytes)
    throw UserError("{}: {} bytes; expected at most {}; is this an experiment file?", file, text.size(), kMaxYamlBytes);
  int line = 1, column = 1;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = utf8_length(text.substr(i, 4));
    // yaml-cpp takes some control characters for the end of the text, and a NUL for UTF-16.
    if (length == 0 || (byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7f)
      throw UserError("{}:{}:{}: byte 0x{:02x}; expected UTF-8 text without control characters", file, line, column, byte);
    i += length;
    column += static_cast<int>(length);
    if (byte == '\n') {
      ++line;
      column = 1;
    }
  }
}

}  // namespace

Value parse_yaml(std::string_view text, const std::string& file) {
  check_bytes(text, file);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    TreeBuilder builder(file);
    if (!parser.HandleNextDocument(builder)) {
      Value empty;
      empty.set_where({file, 1, 1});
      return empty;
    }
    Value root = builder.take();
    TreeBuilder second(file);
    if (parser.HandleNextDocument(second))
      throw UserError("{}: a second document after `---`; expected one document per file", file);
    return root;
  } catch (const YAML::Exception& e) {
    throw UserError("{}: not valid YAML: {}; expected maps `key: value` and lists `[a, b]`",
                    Where{file, e.mark.line + 1, e.mark.column + 1}.str(), shown(e.msg));
  }
}

Value parse_yaml_file(const std::string& path) { return parse_yaml(read_file(path, kMaxYamlBytes), path); }

std::pair<std::string, Value> parse_override(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  const std::string source = "--set " + shown(std::string(assignment), '\0');
  if (equals == std::string_view::npos || equals == 0)
    throw UserError("{}: no '='; expected PATH=VALUE, e.g. --set pipeline.grouping.groups=4", source);
  std::string path(assignment.substr(0, equals));
  while (!path.empty() && path.back() == ' ')
    path.pop_back();
  Value v;
  try {
    v = parse_yaml(assignment.substr(equals + 1), source);
  } catch (const UserError& e) {
    throw UserError("{} (the value is read as YAML)", e.what());
  }
  struct Relocate {
    const std::string& source;
    void operator()(Value& node) const {
      node.set_where({source, 0, 0});
      node.set_key_where({source, 0, 0});
      for (Value& item : node.items())
        (*this)(item);
      for (auto& [key, member] : node.members())
        (*this)(member);
    }
  };
  Relocate{source}(v);
  return {std::move(path), std::move(v)};
}

namespace {

std::string quoted_scalar(const std::string& text, bool quoted) {
  // The emitter leaves a carriage return bare, which reads back as a line break.
  for (const char c : text)
    quoted |= static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f;
  YAML::Emitter out;
  out.SetStringFormat(quoted ? YAML::DoubleQuoted : YAML::Auto);
  out << text;
  return out.c_str();
}

struct Line {
  std::string text;
  std::string origin;
};

bool is_flat(const Value& v) {
  if (v.is_map()) return v.members().empty();
  if (!v.is_list()) return true;
  return std::all_of(v.items().begin(), v.items().end(), [](const Value& i) { return is_flat(i); });
}

std::string flow_text(const Value& v) {
  switch (v.kind()) {
    case Value::Kind::kNull: return "~";
    case Value::Kind::kMap: return "{}";
    case Value::Kind::kScalar: {
      // Inside [...] a comma or bracket ends a plain scalar, which the emitter cannot know.
      const bool special = v.text().find_first_of(",[]{}") != std::string::npos;
      return quoted_scalar(v.text(), v.quoted() || special);
    }
    case Value::Kind::kList: break;
  }
  std::string text = "[";
  for (size_t i = 0; i < v.items().size(); ++i)
    text += (i == 0 ? "" : ", ") + flow_text(v.items()[i]);
  return text + "]";
}

void print_block(const Value& v, const std::string& indent, const std::string& first, std::vector<Line>& lines);

void print_entry(const std::string& head, const Value& v, const std::string& deeper, std::vector<Line>& lines) {
  const std::string origin = v.where().file.empty() ? "" : v.where().str();
  if (is_flat(v)) {
    const std::string text = v.is_scalar() ? quoted_scalar(v.text(), v.quoted()) : flow_text(v);
    lines.push_back({head + " " + text, origin});
    return;
  }
  lines.push_back({head, ""});
  print_block(v, deeper, deeper, lines);
}

// `first` replaces the indentation of the first line: "- " in front of a map inside a list.
void print_block(const Value& v, const std::string& indent, const std::string& first, std::vector<Line>& lines) {
  const std::string* lead = &first;
  if (v.is_map()) {
    for (const auto& [key, member] : v.members()) {
      print_entry(*lead + quoted_scalar(key, false) + ":", member, indent + "  ", lines);
      lead = &indent;
    }
    return;
  }
  for (const Value& item : v.items()) {
    if (is_flat(item))
      print_entry(*lead + "-", item, indent + "  ", lines);
    else
      print_block(item, indent + "  ", *lead + "- ", lines);
    lead = &indent;
  }
}

}  // namespace

std::string to_yaml(const Value& v, bool with_origins) {
  std::vector<Line> lines;
  if (is_flat(v))
    lines.push_back({v.is_scalar() ? quoted_scalar(v.text(), v.quoted()) : flow_text(v), v.where().str()});
  else
    print_block(v, "", "", lines);
  size_t width = 0;
  for (const Line& l : lines)
    if (!l.origin.empty()) width = std::max(width, std::min<size_t>(l.text.size(), 60));
  std::string text;
  for (const Line& l : lines) {
    text += l.text;
    if (with_origins && !l.origin.empty())
      text += std::string(l.text.size() < width ? width - l.text.size() : 0, ' ') + "  # " + l.origin;
    text += '\n';
  }
  return text;
}

}  // namespace sage
