#include "core/config/value.h"

#include <gtest/gtest.h>

#include "core/util/errors.h"

namespace sage {
namespace {

std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const UserError& e) {
    EXPECT_EQ(e.code(), ExitCode::kUsage);
    return e.what();
  }
  return "no error";
}

Value yaml(const std::string& text) { return parse_yaml(text, "x.yaml"); }
std::string yaml_error(const std::string& text) {
  return message([&] { yaml(text); });
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Yaml, ReadsScalarsListsMapsWithPlaces) {
  const Value v = yaml("a: 1e-5\nb:\n  - x\n  - {c: 'q', d: }\n");
  ASSERT_TRUE(v.is_map());
  EXPECT_EQ(v.find("a")->text(), "1e-5");
  EXPECT_FALSE(v.find("a")->quoted());
  EXPECT_EQ(v.find("a")->where().str(), "x.yaml:1:4");
  EXPECT_EQ(v.find("a")->key_where().str(), "x.yaml:1:1");
  const Value& list = *v.find("b");
  ASSERT_EQ(list.items().size(), 2u);
  EXPECT_EQ(list.items()[1].find("c")->text(), "q");
  EXPECT_TRUE(list.items()[1].find("c")->quoted());
  EXPECT_EQ(list.items()[1].find("c")->where().str(), "x.yaml:4:9");
  EXPECT_TRUE(list.items()[1].find("d")->is_null());
  EXPECT_EQ(v.find_path("b.1.c")->text(), "q");
  EXPECT_EQ(v.find_path("b.7.c"), nullptr);
  EXPECT_EQ(v.find_path("a.c"), nullptr);
}

TEST(Yaml, FilesFromWindows) {
  const Value v = yaml("\xEF\xBB\xBF" "a: 1\r\n\r\nb: [x, y]\r\n");
  EXPECT_EQ(v.find("a")->text(), "1");
  EXPECT_EQ(v.find_path("b.1")->text(), "y");
  EXPECT_TRUE(has(yaml_error(std::string("\xFF\xFE" "a\0", 4)), "expected UTF-8 text"));
}

TEST(Yaml, NullsAndEmptyTexts) {
  EXPECT_TRUE(yaml("").is_null());
  EXPECT_TRUE(yaml("# only a comment\n").is_null());
  EXPECT_TRUE(yaml("a: ~").find("a")->is_null());
  EXPECT_TRUE(yaml("a: null").find("a")->is_null());
  EXPECT_TRUE(yaml("a: 'null'").find("a")->is_scalar());
  EXPECT_EQ(yaml("a: ''").find("a")->text(), "");
}

TEST(Yaml, AliasesAreCopies) {
  const Value v = yaml("base: &b {x: 1, y: [2, 3]}\nuse: *b\n");
  EXPECT_EQ(canonical_json(*v.find("use")), R"({"x":1,"y":[2,3]})");
  EXPECT_EQ(v.find("use")->find("x")->where().line, 1);
  EXPECT_EQ(v.find("use")->key_where().str(), "x.yaml:2:1");
}

TEST(Yaml, ErrorsSayWhere) {
  EXPECT_EQ(yaml_error("a: 1\nb: 2\na: 3\n"),
            "x.yaml:3:1: the key 'a' is given twice; expected one (the first is at x.yaml:1:1); remove one of them");
  EXPECT_TRUE(has(yaml_error("a: [1, 2\nb: 3"), "x.yaml:2:")) << yaml_error("a: [1, 2\nb: 3");
  EXPECT_TRUE(has(yaml_error("a: [1, 2"), "not valid YAML"));
  EXPECT_TRUE(has(yaml_error("{[a, b]: 1}"), "x.yaml:1:2: a key that is not a plain text"));
  EXPECT_TRUE(has(yaml_error("~: 1"), "a key that is not a plain text"));
  EXPECT_TRUE(has(yaml_error("a: *nothing"), "x.yaml:1:"));
  EXPECT_TRUE(has(yaml_error("a: &x [*x]"), "alias"));
  EXPECT_TRUE(has(yaml_error("a: !!python/object x"), "x.yaml:1:4: the tag")) << yaml_error("a: !!python/object x");
  EXPECT_TRUE(has(yaml_error("a: 1\n---\nb: 2\n"), "second document"));
  EXPECT_TRUE(has(yaml_error("a: 1\n b: \x01\n"), "x.yaml:2:5: byte 0x01"));
  EXPECT_TRUE(has(yaml_error(std::string("a\0b", 3)), "x.yaml:1:2: byte 0x00"));
  for (const char* bad : {"\x80", "\xc0\xaf", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xfe"})
    EXPECT_TRUE(has(yaml_error("a: '" + std::string(bad) + "'"), "x.yaml:1:5: byte 0x")) << bad;
  EXPECT_EQ(yaml("a: '\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80'").find("a")->text(), "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST(Yaml, BombsAreRefused) {
  EXPECT_TRUE(has(yaml_error(std::string(100, '[') + std::string(100, ']')), "nested deeper than 64"));
  for (const char c : std::string("[{-?\"'|!&*")) {
    std::string text;
    for (int i = 0; i < 100000; ++i)
      text += std::string(1, c) + (c == '-' || c == '?' ? " " : "");
    if (c != '\'' && c != '"' && c != '&' && c != '|')
      EXPECT_TRUE(has(yaml_error(text), "x.yaml:1:")) << c;
    else
      yaml_error(text);
  }
  std::string block;
  for (int i = 0; i < 200; ++i)
    block += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_TRUE(has(yaml_error(block), "nested deeper than 64"));
  EXPECT_TRUE(has(yaml_error(std::string(kMaxYamlBytes + 1, 'a')), "expected at most 1048576"));
  std::string many = "[";
  for (size_t i = 0; i <= kMaxYamlNodes; ++i)
    many += "1,";
  EXPECT_TRUE(has(yaml_error(many + "]"), "more than 200000 values"));

  // Nine lines that stand for 10^9 values.
  std::string laughs = "a: &a [1,1,1,1,1,1,1,1,1,1]\n";
  for (char c = 'b'; c < 'j'; ++c) {
    const std::string before(1, static_cast<char>(c - 1));
    laughs += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i)
      laughs += "*" + before + (i == 9 ? "]\n" : ",");
  }
  EXPECT_TRUE(has(yaml_error(laughs), "once aliases are expanded")) << yaml_error(laughs);

  std::string nested = "a0: &a0 [1]\n";  // each alias one level deeper
  for (int i = 1; i < 100; ++i)
    nested += fmt::format("a{0}: &a{0} [*a{1}]\n", i, i - 1);
  EXPECT_TRUE(has(yaml_error(nested), "nested deeper than 64")) << yaml_error(nested);
}

TEST(Yaml, HostileTextIsShortenedInMessages) {
  const std::string error = yaml_error(std::string(900, 'k') + ": 1\n" + std::string(900, 'k') + ": 2\n");
  EXPECT_LT(error.size(), 300u);
  EXPECT_TRUE(has(error, "given twice"));
}

TEST(Merge, MapsMergeListsAndScalarsReplace) {
  Value base = yaml("{a: {x: 1, y: 2}, l: [1, 2], s: 1}");
  merge_into(base, yaml("{a: {y: 3, z: 4}, l: [9], t: 5}"));
  EXPECT_EQ(canonical_json(base), R"({"a":{"x":1,"y":3,"z":4},"l":[9],"s":1,"t":5})");
}

TEST(Merge, ChangedTypeReplacesTheBlock) {
  Value base = yaml("{g: {type: kmeans, groups: 4}}");
  merge_into(base, yaml("{g: {type: kmeans, iterations: 7}}"));
  EXPECT_EQ(canonical_json(base), R"({"g":{"groups":4,"iterations":7,"type":"kmeans"}})");
  merge_into(base, yaml("{g: {type: single}}"));
  EXPECT_EQ(canonical_json(base), R"({"g":{"type":"single"}})");
  merge_into(base, yaml("{g: {groups: 3}}"));  // no type: same component
  EXPECT_EQ(canonical_json(base), R"({"g":{"groups":3,"type":"single"}})");
  merge_into(base, yaml("{g: none}"));
  EXPECT_EQ(canonical_json(base), R"({"g":"none"})");
}

TEST(Override, SetsPathsWithYamlValues) {
  Value root = yaml("{a: {b: 1}, e: [{w: 4}]}");
  apply_override(root, "a.b=2");
  apply_override(root, "a.c.d=[1, {x: y}]");
  apply_override(root, "e.0.w=8");
  apply_override(root, "t=a=b");
  EXPECT_EQ(canonical_json(root), R"({"a":{"b":2,"c":{"d":[1,{"x":"y"}]}},"e":[{"w":8}],"t":"a=b"})");
  EXPECT_EQ(root.find_path("a.b")->where().str(), "--set a.b=2");
  EXPECT_EQ(root.find_path("a.c.d.1.x")->where().str(), "--set a.c.d=[1, {x: y}]");
}

TEST(Override, TypeReplacesTheBlock) {
  Value root = yaml("{p: {g: {type: kmeans, groups: 4}}}");
  apply_override(root, "p.g.type=single");
  EXPECT_EQ(canonical_json(root), R"({"p":{"g":{"type":"single"}}})");
}

TEST(Override, Errors) {
  Value root = yaml("{a: {b: 1}, l: [1]}");
  const auto error = [&](const char* text) { return message([&] { apply_override(root, text); }); };
  EXPECT_EQ(error("a.b"), "--set a.b: no '='; expected PATH=VALUE, e.g. --set pipeline.grouping.groups=4");
  EXPECT_TRUE(has(error("=1"), "no '='"));
  EXPECT_TRUE(has(error("a..b=1"), "--set a..b=1: the path 'a..b' has an empty part"));
  EXPECT_EQ(error("a.b.c=1"), "--set a.b.c=1: 'a.b.c' cannot be set, because a.b is '1' (x.yaml:1:9); set a.b itself first");
  EXPECT_TRUE(has(error("l.3=1"), "no entry '3' in the list l; expected a number from 0 to 0"));
  EXPECT_TRUE(has(error("l.x=1"), "no entry 'x'"));
  EXPECT_TRUE(has(error("a=[1"), "--set a=[1"));
}

TEST(Canonical, SortedKeysBareNumbersEscapedTexts) {
  EXPECT_EQ(canonical_json(
                yaml("{b: 1, a: 0.5, c: true, d: text, e: '1', f: ~, g: 01, h: 1e-05, i: \"q\\\"\\n\", j: .5, k: -3, l: '' }")),
            R"({"a":0.5,"b":1,"c":true,"d":"text","e":"1","f":null,"g":"01","h":1e-05,"i":"q\"\n","j":".5","k":-3,"l":""})");
}

TEST(Canonical, InvalidUtf8DoesNotThrow) { EXPECT_EQ(canonical_json(Value::scalar("\xff")), "\"\xef\xbf\xbd\""); }

TEST(Print, YamlReadsBackEqual) {
  const char* text =
      "name: 'a: b'\nempty: ''\nnothing: ~\nnull_text: 'null'\nnumber_text: '12'\nlist: [1, 'a, b', \"x]y\", '#c', []]\n"
      "maps:\n  - {a: 1, b: {c: [1, [2, 3]]}}\n  - - x\n    - {y: 'two\n\n lines'}\nhash: '# no comment'\nspace: ' "
      "lead'\nstar: '*a'\n"
      "colon: 'a:b'\nm: {}\ntab: \"a\\tb\"\ntrue_text: 'true'\ncr: \"a\\rb\"\nuni: \"\\u00e9\\u0085\\u2028\\ufeff\"\n";
  const Value v = yaml(text);
  for (const bool origins : {false, true}) {
    const std::string printed = to_yaml(v, origins);
    EXPECT_EQ(canonical_json(parse_yaml(printed, "again")), canonical_json(v)) << printed;
  }
}

TEST(Print, OriginsAreShown) {
  const std::string text = to_yaml(yaml("a: 1\nb: {c: [1, 2]}"), true);
  EXPECT_EQ(text, "a: 1         # x.yaml:1:4\nb:\n  c: [1, 2]  # x.yaml:2:8\n");
}

TEST(NearestName, SuggestsWithinAThird) {
  const std::vector<std::string> names = {"max_fraction", "candidates", "kmeans", "spectral", "rtn"};
  EXPECT_EQ(nearest_name("max_fracton", names), "max_fraction");    // deletion
  EXPECT_EQ(nearest_name("maxx_fraction", names), "max_fraction");  // insertion
  EXPECT_EQ(nearest_name("kmaens", names), "kmeans");               // transposition counts as one
  EXPECT_EQ(nearest_name("Spectral", names), "spectral");           // case
  EXPECT_EQ(nearest_name("max-fraction", names), "max_fraction");
  EXPECT_EQ(nearest_name("rtm", names), "rtn");
  EXPECT_EQ(nearest_name("positional", names), "");
  EXPECT_EQ(nearest_name("", names), "");
  EXPECT_EQ(nearest_name(std::string(100000, 'x'), names), "");
  EXPECT_EQ(nearest_name("abcdef", {"abcxyz"}), "");        // three of six
  EXPECT_EQ(nearest_name("abcdef", {"abcdxy"}), "abcdxy");  // two of six
}

}  // namespace
}  // namespace sage
