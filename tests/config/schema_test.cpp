#include "core/config/schema.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/registry/registry.h"
#include "core/util/errors.h"
#include "core/util/random.h"

namespace sage {
namespace {

enum class Mode { kFast, kExact };
struct Params {
  double ratio = 0.01;
  int bits = 4;
  int64_t seed = 0;
  bool on = false;
  std::string text = "t";
  Mode mode = Mode::kFast;
  std::optional<double> budget;
  std::optional<int> groups;
  std::vector<int> sizes{1, 2};
  std::vector<std::string> globs;
};

Schema<Params> schema() {
  return Schema<Params>{}
      .add("ratio", &Params::ratio, range(0.0, 0.5), "Share.")
      .add("bits", &Params::bits, range(2, 8), "Width.")
      .add("seed", &Params::seed, "Seed.")
      .add("on", &Params::on, "Switch.")
      .add("text", &Params::text, "Text.")
      .add("mode", &Params::mode, choices<Mode>({{"fast", Mode::kFast}, {"exact", Mode::kExact}}), "Mode.")
      .add("budget", &Params::budget, range(0.0, 16.0), "Budget.")
      .add("groups", &Params::groups, "Groups.")
      .add("sizes", &Params::sizes, range(1, 9), "Sizes.")
      .add("globs", &Params::globs, "Globs.");
}

Params parse(const std::string& text) { return schema().parse(parse_yaml(text, "f.yaml"), "section"); }
std::string error(const std::string& text) {
  try {
    parse(text);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

TEST(Schema, ReadsEveryType) {
  const Params p = parse(
      "{ratio: 2.5e-1, bits: 3, seed: 9007199254740993, on: true, text: 007, mode: exact, budget: 3, groups: 5, "
      "sizes: [3, 9], globs: ['*.q', b]}");
  EXPECT_EQ(p.ratio, 0.25);
  EXPECT_EQ(p.bits, 3);
  EXPECT_EQ(p.seed, 9007199254740993);  // not a double
  EXPECT_TRUE(p.on);
  EXPECT_EQ(p.text, "007");
  EXPECT_EQ(p.mode, Mode::kExact);
  EXPECT_EQ(p.budget, 3.0);
  EXPECT_EQ(p.groups, 5);
  EXPECT_EQ(p.sizes, (std::vector<int>{3, 9}));
  EXPECT_EQ(p.globs, (std::vector<std::string>{"*.q", "b"}));
  EXPECT_EQ(parse("").bits, 4);
  EXPECT_FALSE(parse("{budget: ~}").budget.has_value());
}

TEST(Schema, CanonicalFormIsStableAndComplete) {
  const Value once = schema().print(parse("{bits: +5, ratio: 0.10, sizes: []}"));
  EXPECT_EQ(
      canonical_json(once),
      R"({"bits":5,"budget":null,"globs":[],"groups":null,"mode":"fast","on":false,"ratio":0.1,"seed":0,"sizes":[],"text":"t"})");
  const Value twice = schema().print(schema().parse(once, "section"));
  EXPECT_EQ(canonical_json(twice), canonical_json(once));
}

TEST(Schema, MessagesAreExact) {
  EXPECT_EQ(
      error("bits: 3\nratoi: 0.1"),
      "f.yaml:2:1: unknown key 'ratoi' in section; expected one of: ratio, bits, seed, on, text, mode, budget, groups, sizes, "
      "globs; did you mean 'ratio'?");
  EXPECT_EQ(error("{ratio: 0.7}"), "f.yaml:1:9: found '0.7' for ratio; expected 0 .. 0.5");
  EXPECT_EQ(error("{bits: 4.5}"), "f.yaml:1:8: found '4.5' for bits; expected a whole number");
  EXPECT_EQ(error("{bits: 9}"), "f.yaml:1:8: found '9' for bits; expected 2 .. 8");
  EXPECT_EQ(error("{bits: 4294967300}"), "f.yaml:1:8: found '4294967300' for bits; expected a 32-bit integer");
  EXPECT_EQ(error("{seed: 99999999999999999999}"),
            "f.yaml:1:8: found '99999999999999999999' for seed; expected a whole number of at most 64 bits");
  EXPECT_EQ(error("{ratio: abc}"), "f.yaml:1:9: found 'abc' for ratio; expected a number");
  EXPECT_EQ(error("{ratio: nan}"), "f.yaml:1:9: found 'nan' for ratio; expected a finite number");
  EXPECT_EQ(error("{ratio: 1e999}"), "f.yaml:1:9: found '1e999' for ratio; expected a finite number");
  EXPECT_EQ(error("{on: yes}"), "f.yaml:1:6: found 'yes' for on; expected true or false");
  EXPECT_EQ(error("{mode: exat}"), "f.yaml:1:8: found 'exat' for mode; expected one of: fast, exact; did you mean 'exact'?");
  EXPECT_EQ(error("{bits: [1]}"), "f.yaml:1:8: found a list for bits; expected a whole number");
  EXPECT_EQ(error("{bits: }"), "f.yaml:1:8: found nothing for bits; expected a whole number");
  EXPECT_EQ(error("{sizes: 3}"), "f.yaml:1:9: found '3' for sizes; expected a list [a, b, ...]");
  EXPECT_EQ(error("{sizes: [1, 10]}"), "f.yaml:1:9: found [1,10] for sizes; expected 1 .. 9");
  EXPECT_EQ(error("[1]"), "f.yaml:1:1: found a list for section; expected a map {name: value, ...}");
  EXPECT_EQ(error("{bits: \"a\\u0007b\"}"), "f.yaml:1:8: found 'a\\x07b' for bits; expected a whole number");
}

TEST(Schema, NumbersAreShortestAndReadBack) {
  using config_detail::format_number;
  EXPECT_EQ(format_number(0.1), "0.1");
  EXPECT_EQ(format_number(1.0), "1");
  EXPECT_EQ(format_number(-0.0), "0");
  EXPECT_EQ(format_number(1e-5), "1e-05");
  EXPECT_EQ(format_number(0.1 + 0.2), "0.30000000000000004");
  Rng rng(7, "numbers");
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = rng.next_u64();
    double v;
    std::memcpy(&v, &bits, sizeof v);
    if (!std::isfinite(v)) continue;
    const Value text = Value::scalar(format_number(v));
    EXPECT_EQ(config_detail::parse_double(text, "v"), v) << text.text();
  }
}

TEST(Schema, InfoForHelp) {
  const std::vector<ParamInfo> info = schema().info();
  ASSERT_EQ(info.size(), 10u);
  EXPECT_EQ(info[0].type, "number");
  EXPECT_EQ(info[0].default_value, "0.01");
  EXPECT_EQ(info[0].constraint, "0 .. 0.5");
  EXPECT_EQ(info[5].constraint, "fast | exact");
  EXPECT_EQ(info[6].default_value, "-");
  EXPECT_EQ(info[8].type, "list of int");
  EXPECT_EQ(info[8].default_value, "[1,2]");
}

// A registry of two toys, for the messages of components.
struct Toy {
  virtual ~Toy() = default;
  virtual int value() const = 0;
};
struct First final : Toy {
  struct Params {
    int size = 3;
  };
  static constexpr auto kName = "first_toy", kDoc = "A toy.";
  static constexpr int kVersion = 2;
  static constexpr Citation kReference{"Work", "id:1", "Eq. 3"};
  static Schema<Params> schema() { return Schema<Params>{}.add("size", &Params::size, range(1, 5), "Size."); }
  explicit First(Params p) : p_(p) {}
  int value() const override { return p_.size; }
  Params p_;
};
struct Second final : Toy {
  struct Params {};
  static constexpr auto kName = "second_toy", kDoc = "Another.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit Second(Params) {}
  int value() const override { return 0; }
};

TEST(Registry, MakesDescribesAndCanonicalises) {
  Registry<Toy> r("toy");
  r.add<First>();
  r.add<Second>();
  EXPECT_EQ(r.make(parse_yaml("{type: first_toy, size: 5}", "f"), "p.toy")->value(), 5);
  EXPECT_EQ(r.make(Value::scalar("first_toy"), "p.toy")->value(), 3);
  EXPECT_EQ(canonical_json(r.canonical(Value::scalar("first_toy"), "p.toy")), R"({"size":3,"type":"first_toy"})");
  EXPECT_EQ(r.list()[0].reference, "Work, id:1, Eq. 3");
  EXPECT_EQ(r.list()[1].reference, "");
  EXPECT_THROW(r.add<First>(), Error);
}

TEST(Registry, Messages) {
  Registry<Toy> r("toy");
  r.add<First>();
  r.add<Second>();
  const auto error = [&](const std::string& text) -> std::string {
    try {
      r.make(parse_yaml(text, "f.yaml"), "p.toy");
    } catch (const UserError& e) {
      return e.what();
    }
    return "no error";
  };
  EXPECT_EQ(error("{type: frist_toy}"),
            "f.yaml:1:8: unknown toy 'frist_toy' in p.toy; expected one of: first_toy, second_toy; did you mean 'first_toy'?");
  EXPECT_EQ(error("{size: 3}"),
            "f.yaml:1:1: p.toy has no 'type'; expected {type: NAME, ...} with NAME one of: first_toy, second_toy");
  EXPECT_EQ(error("{type: first_toy, sise: 3}"),
            "f.yaml:1:19: unknown key 'sise' in p.toy (first_toy); expected one of: size, type; did you mean 'size'?");
  EXPECT_EQ(error("{type: second_toy, size: 3}"),
            "f.yaml:1:20: unknown key 'size' in p.toy (second_toy); expected one of: type");
  EXPECT_EQ(error("{type: first_toy, size: 6}"), "f.yaml:1:25: found '6' for size; expected 1 .. 5");
}

}  // namespace
}  // namespace sage
