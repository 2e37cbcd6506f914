// What a tokenizer.json may say, one construct at a time, and what happens when it is broken. Expected splits follow the
// documented behaviour of the `tokenizers` library.
#include "core/util/files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/model/tokenizer.h"
#include "core/model/tokenizer_regex.h"
#include "core/model/tokenizer_unicode.h"
#include "core/util/errors.h"

namespace sage {
namespace {

using Json = nlohmann::json;

// Characters a-d, two merges, and what a test adds.
Json small() {
  return Json::parse(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, " ": 4, "ab": 5, "abc": 6, "-": 7, "aa": 8},
                                   "merges": ["a b", ["ab", "c"], "a a"]}})");
}
std::vector<int32_t> ids(const Json& file, const std::string& text, bool special = false) {
  return Tokenizer::from_json(file.dump(), "test.json").encode(text, special);
}
// The pieces a pre-tokenizer makes, seen through ignore_merges: each listed piece is one token.
std::vector<std::string> pieces(const Json& pre, const std::string& text, const std::vector<std::string>& words) {
  Json file = small();
  file["model"]["ignore_merges"] = true;
  file["model"]["unk_token"] = "?";
  file["model"]["fuse_unk"] = true;
  file["model"]["vocab"] = {{"?", 0}};
  file["model"]["merges"] = Json::array();
  int id = 1;
  for (const auto& w : words)
    file["model"]["vocab"][w] = id++;
  file["pre_tokenizer"] = pre;
  const Tokenizer t = Tokenizer::from_json(file.dump(), "test.json");
  std::vector<std::string> out;
  for (int32_t i : t.encode(text, false))
    out.push_back(*t.token_of(i));
  return out;
}
using Words = std::vector<std::string>;

TEST(TokenizerModel, MergesInRankOrder) {
  EXPECT_EQ(ids(small(), "abc"), (std::vector<int32_t>{6}));
  EXPECT_EQ(ids(small(), "aab"), (std::vector<int32_t>{0, 5}));  // a b comes before a a
  EXPECT_EQ(ids(small(), "aaa"), (std::vector<int32_t>{8, 0}));  // the leftmost of equals
  EXPECT_EQ(ids(small(), "cab d"), (std::vector<int32_t>{2, 5, 4, 3}));
}

TEST(TokenizerModel, UnknownCharacters) {
  Json file = small();
  EXPECT_EQ(ids(file, "axyb"), (std::vector<int32_t>{5}));  // dropped, as the library does without unk_token
  file["model"]["unk_token"] = "d";
  EXPECT_EQ(ids(file, "axyb"), (std::vector<int32_t>{0, 3, 3, 1}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(ids(file, "axyb"), (std::vector<int32_t>{0, 3, 1}));
}

TEST(TokenizerSplit, Behaviours) {
  const auto split = [](const char* behavior, bool invert) {
    return Json{{"type", "Split"}, {"pattern", {{"String", "-"}}}, {"behavior", behavior}, {"invert", invert}};
  };
  const std::string text = "the-final--countdown";
  EXPECT_EQ(pieces(split("Removed", false), text, {"the", "final", "countdown"}), (Words{"the", "final", "countdown"}));
  EXPECT_EQ(pieces(split("Isolated", false), text, {"the", "final", "countdown", "-"}),
            (Words{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(pieces(split("MergedWithPrevious", false), text, {"the-", "final-", "-", "countdown"}),
            (Words{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(pieces(split("MergedWithNext", false), text, {"the", "-final", "-", "-countdown"}),
            (Words{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(pieces(split("Contiguous", false), text, {"the", "-", "final", "--", "countdown"}),
            (Words{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(pieces(split("Removed", true), text, {"-"}), (Words{"-", "-", "-"}));
}

TEST(TokenizerSplit, SimplePreTokenizers) {
  EXPECT_EQ(pieces({{"type", "Digits"}, {"individual_digits", true}}, "a12b", {"a", "1", "2", "b"}),
            (Words{"a", "1", "2", "b"}));
  EXPECT_EQ(pieces({{"type", "Digits"}, {"individual_digits", false}}, "a12b", {"a", "12", "b"}), (Words{"a", "12", "b"}));
  EXPECT_EQ(pieces({{"type", "Whitespace"}}, "Hey, you_2!?", {"Hey", ",", "you_2", "!?"}), (Words{"Hey", ",", "you_2", "!?"}));
  EXPECT_EQ(pieces({{"type", "WhitespaceSplit"}}, "a, \xE3\x80\x80 b", {"a,", "b"}), (Words{"a,", "b"}));
  EXPECT_EQ(pieces({{"type", "Punctuation"}}, "a?!b", {"a", "?", "!", "b"}), (Words{"a", "?", "!", "b"}));
  EXPECT_EQ(pieces({{"type", "CharDelimiterSplit"}, {"delimiter", "|"}}, "a|b||c", {"a", "b", "c"}), (Words{"a", "b", "c"}));
}

TEST(TokenizerSplit, ByteLevelPrefixSpaceIsGivenToEveryPiece) {
  const Json pre = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}};
  EXPECT_EQ(pieces(pre, "a b",
                   {"\xC4\xA0"
                    "a",
                    "\xC4\xA0"
                    "b"}),
            (Words{"\xC4\xA0"
                   "a",
                   "\xC4\xA0"
                   "b"}));
  EXPECT_EQ(pieces(pre, "", {"a"}), Words{});
  const Json both = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, pre}}};
  EXPECT_EQ(pieces(both, "a1",
                   {"\xC4\xA0"
                    "a",
                    "\xC4\xA0"
                    "1"}),
            (Words{"\xC4\xA0"
                   "a",
                   "\xC4\xA0"
                   "1"}));
}

TEST(TokenizerRegexTranslation, MeansWhatOnigurumaMeans) {
  const auto cut = [](const std::string& pattern, const std::string& text) {
    Words out;
    for (const auto& p : Regex::pattern(pattern, "test").cut(text)) {
      if (p.match) out.push_back(text.substr(p.begin, p.end - p.begin));
    }
    return out;
  };
  EXPECT_EQ(cut(R"(\s+)", "a\xE1\xA0\x8E b"), (Words{" "}));               // U+180E is no white space since Unicode 6.3
  EXPECT_EQ(cut(R"(\w+)", "e\xCC\x81_x-y"), (Words{"e\xCC\x81_x", "y"}));  // combining marks are word characters
  EXPECT_EQ(cut(R"([^\s\w]+)", "a, b"), (Words{","}));
  EXPECT_EQ(cut(R"(\p{Han}+)", "a\xE4\xB8\xAD\xE3\x80\x81"), (Words{"\xE4\xB8\xAD"}));  // U+3001 is Han by extension only
  EXPECT_EQ(cut(R"(\u4e2d)", "\xE4\xB8\xAD"), (Words{"\xE4\xB8\xAD"}));
  EXPECT_EQ(cut("^a", "a\na"), (Words{"a", "a"}));
  EXPECT_EQ(cut("a{,2}", "aaa"), (Words{"aa", "a"}));
  EXPECT_EQ(cut("x*", "axb").size(), 3u);  // empty, x, empty at the end; none right behind x
  for (const char* bad : {"[a&&b]", "[a[b]]", R"(\h)", "a{1,2}+", "(", "[", R"([\W])", "\\", "(*UTF)a", R"(\C)", "a**(?<"})
    EXPECT_THROW(Regex::pattern(bad, "test"), ResourceError) << bad;
}

TEST(TokenizerRegexTranslation, BacktrackingEndsInAnError) {
  const Regex hostile = Regex::pattern("(a|a|aa)+$", "test");
  EXPECT_THROW(hostile.cut(std::string(2000, 'a') + "b"), ResourceError);
}

TEST(TokenizerNormalizer, Steps) {
  Json file = small();
  file["normalizer"] = {{"type", "Sequence"},
                        {"normalizers",
                         {{{"type", "Lowercase"}},
                          {{"type", "Strip"}, {"strip_left", true}, {"strip_right", true}},
                          {{"type", "Replace"}, {"pattern", {{"Regex", "x+"}}}, {"content", "b"}},
                          {{"type", "Prepend"}, {"prepend", "-"}}}}};
  EXPECT_EQ(ids(file, "  AXXC\n"), (std::vector<int32_t>{7, 6}));
  EXPECT_EQ(ids(file, ""), (std::vector<int32_t>{}));
  EXPECT_EQ(ids(file, " "), (std::vector<int32_t>{}));
  file["model"]["vocab"]["\xC3\xA9"] = 9;
  file["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(ids(file, "e\xCC\x81"), (std::vector<int32_t>{9}));
  file["normalizer"] = {{"type", "NFKC"}};
  EXPECT_EQ(ids(file, "\xEF\xBD\x81"), (std::vector<int32_t>{0}));  // full-width a
  file["model"]["vocab"] = Json{{"e", 0}, {"\xCC\x81", 1}, {"f", 2}, {"i", 3}};
  file["model"]["merges"] = Json::array();
  file["normalizer"] = {{"type", "NFD"}};
  EXPECT_EQ(ids(file, "\xC3\xA9"), (std::vector<int32_t>{0, 1}));
  file["normalizer"] = {{"type", "NFKD"}};
  EXPECT_EQ(ids(file, "\xEF\xAC\x81"), (std::vector<int32_t>{2, 3}));  // the ligature fi
}

Json added(int id, const char* content, bool special, bool lstrip = false, bool rstrip = false, bool word = false,
           bool norm = false) {
  return {{"id", id},         {"content", content},  {"special", special}, {"lstrip", lstrip},
          {"rstrip", rstrip}, {"single_word", word}, {"normalized", norm}};
}

TEST(TokenizerAdded, StripsAndWords) {
  Json file = small();
  file["added_tokens"] = Json::array({added(9, "<x>", true)});
  EXPECT_EQ(ids(file, "a <x> b"), (std::vector<int32_t>{0, 4, 9, 4, 1}));
  file["added_tokens"] = Json::array({added(9, "<x>", true, true)});
  EXPECT_EQ(ids(file, "a <x> b"), (std::vector<int32_t>{0, 9, 4, 1}));
  file["added_tokens"] = Json::array({added(9, "<x>", true, false, true)});
  EXPECT_EQ(ids(file, "a <x> \n<x>b"), (std::vector<int32_t>{0, 4, 9, 9, 1}));
  file["added_tokens"] = Json::array({added(9, "cd", false, false, false, true)});
  EXPECT_EQ(ids(file, "cd acd cda -cd-"), (std::vector<int32_t>{9, 4, 0, 2, 3, 4, 2, 3, 0, 4, 7, 9, 7}));
}

TEST(TokenizerAdded, LongestWinsAndNormalizedOnesComeSecond) {
  Json file = small();
  file["added_tokens"] =
      Json::array({added(9, "<a>", true), added(10, "<a><b>", true), added(11, "DC", false, false, false, false, true)});
  file["normalizer"] = {{"type", "Lowercase"}};
  EXPECT_EQ(ids(file, "<a><b><a>"), (std::vector<int32_t>{10, 9}));
  EXPECT_EQ(ids(file, "aDCdcDc<A>"),
            (std::vector<int32_t>{0, 11, 11, 11, 0}));  // <A> is not the raw token; < and > are unknown
}

TEST(TokenizerPost, Templates) {
  Json file = small();
  file["added_tokens"] = Json::array({added(9, "<s>", true), added(10, "</s>", true)});
  file["post_processor"] = Json::parse(R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [9], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [10], "tokens": ["</s>"]}}})");
  EXPECT_EQ(ids(file, "a", true), (std::vector<int32_t>{9, 0, 10}));
  EXPECT_EQ(ids(file, "a", false), (std::vector<int32_t>{0}));
  file["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 9}}, {"sep", {"</s>", 10}}};
  EXPECT_EQ(ids(file, "", true), (std::vector<int32_t>{9, 10}));
  file["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 99}}, {"sep", {"</s>", 10}}};
  EXPECT_THROW(ids(file, ""), ResourceError);
}

TEST(TokenizerText, NotUtf8) {
  const Tokenizer t = Tokenizer::from_json(small().dump(), "test.json");
  for (const char* bad : {"\x80", "a\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE4\xB8"})
    EXPECT_THROW(t.encode(bad, false), ResourceError);
  EXPECT_EQ(utf8_lossy("a\xE4\xB8z\xF0\x9F\x80\xFF"), "a\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_THROW(t.decode(std::vector<int32_t>{-1}), UserError);
  EXPECT_THROW(t.decode(std::vector<int32_t>{9}), UserError);
}

void expect_error(const Json& file, const std::string& part) {
  try {
    Tokenizer::from_json(file.dump(), "test.json");
    FAIL() << "no error; expected one with: " << part;
  } catch (const ResourceError& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("test.json"), std::string::npos) << e.what();
  }
}
Json with(const std::string& pointer, const Json& value) {
  Json file = small();
  file[Json::json_pointer(pointer)] = value;
  return file;
}

TEST(TokenizerBroken, EveryPartIsChecked) {
  expect_error(Json::array(), "an object");
  expect_error(Json::object(), "\"model\" is missing");
  expect_error(with("/model/type", "Unigram"), "\"Unigram\" is not supported");
  expect_error(with("/model/dropout", 0.1), "dropout");
  expect_error(with("/model/vocab", Json::array()), "an object");
  expect_error(with("/model/vocab", Json::object()), "not in the vocabulary");
  expect_error(with("/model/vocab/x", -1), "id -1");
  expect_error(with("/model/vocab/x", 1.5), "a token id");
  expect_error(with("/model/vocab/x", "7"), "a token id");
  expect_error(with("/model/vocab/x", 4'000'000'000u), "id 4000000000");
  expect_error(with("/model/vocab/x", 3), "both have id 3");
  expect_error(with("/model/merges", 3), "a list");
  expect_error(with("/model/merges/0", "a z"), "model.merges[0]");
  expect_error(with("/model/merges/0", "a d"), "\"ad\"");
  expect_error(with("/model/merges/0", "a"), "two tokens");
  expect_error(with("/model/merges/0", {"a", "b", "c"}), "two tokens");
  expect_error(with("/model/unk_token", "nope"), "not in the vocabulary");
  expect_error(with("/normalizer", {{"type", "Precompiled"}}), "\"Precompiled\" is not supported");
  expect_error(with("/pre_tokenizer", {{"type", "BertPreTokenizer"}}), "\"BertPreTokenizer\" is not supported");
  expect_error(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}}), "\"last\"");
  expect_error(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "__"}}), "one character");
  expect_error(with("/pre_tokenizer",
                    {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "always"}, {"add_prefix_space", false}}),
               "add_prefix_space false");
  // These move a text's start, and with it what counts as first.
  for (const Json& normalizer : {Json{{"type", "Prepend"}, {"prepend", "a"}}, Json{{"type", "Strip"}},
                                 Json{{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", ""}}}) {
    Json file = with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}});
    file["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array({normalizer})}};
    expect_error(file, "pre_tokenizer.prepend_scheme: found \"first\" behind a normalizer");
  }
  expect_error(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", ""}}), "one character");
  expect_error(with("/decoder", {{"type", "Strip"}, {"content", " "}, {"start", -1}, {"stop", 0}}), "decoder.start");
  expect_error(with("/pre_tokenizer", {{"typ", "Digits"}}), "\"type\" is missing");
  expect_error(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "("}}}, {"behavior", "Isolated"}}),
               "does not compile");
  expect_error(with("/pre_tokenizer", {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Sideways"}}),
               "Sideways");
  expect_error(with("/decoder", {{"type", "WordPiece"}}), "\"WordPiece\" is not supported");
  expect_error(with("/post_processor", {{"type", "Odd"}}), "\"Odd\" is not supported");
  expect_error(with("/added_tokens", Json::array({added(3, "<x>", true)})), "next free id");
  expect_error(with("/added_tokens", Json::array({added(5, "a", true)})), "its id in the vocabulary");
  expect_error(with("/added_tokens", Json::array({added(12, "<x>", true)})), "next free id");
  expect_error(with("/added_tokens", 7), "a list");
}

TEST(TokenizerBroken, HostileBytes) {
  const auto error_of = [](const std::string& text) -> std::string {
    try {
      Tokenizer::from_json(text, "test.json");
    } catch (const ResourceError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(error_of("").find("is empty"), std::string::npos);
  EXPECT_NE(error_of("{").find("not JSON"), std::string::npos);
  EXPECT_NE(error_of("{\"model\": {\"vocab\": {\"\xFF\": 1}}}").find("not JSON"), std::string::npos);
  EXPECT_NE(error_of(std::string(1'000'000, '[')).find("nested deeper"), std::string::npos);
  std::string many = "[0";
  for (int i = 0; i < 9'000'000; ++i)
    many += ",0";
  EXPECT_NE(error_of(many + "]").find("values"), std::string::npos);
  const std::string good = read_file(std::string(SAGE_TEST_DATA) + "/tokenizer/llama3/tokenizer.json");
  for (size_t cut = 0; cut < good.size(); cut += 997)
    EXPECT_NE(error_of(good.substr(0, cut)), "") << cut;
  // A flipped byte either leaves a file that can be used or is an error of ours; never anything else.
  for (size_t at = 0; at < good.size(); at += 641) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x15);
    try {
      Tokenizer::from_json(bad, "test.json").encode("Hello 123  world<|eot_id|>", true);
    } catch (const ResourceError&) {
    }
  }
}

TEST(TokenizerBroken, MissingFile) { EXPECT_THROW(Tokenizer::from_file("/nonexistent/tokenizer.json"), ResourceError); }

}  // namespace
}  // namespace sage
