// The tokenizer of a folder: which files count, and vocab.json + merges.txt without a tokenizer.json. Ids under "as published"
// and below were recorded with transformers 5.24 (AutoTokenizer on folders with these very files).
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "core/model/tokenizer.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

using Json = nlohmann::json;
using Files = std::map<std::string, std::string>;
using Ids = std::vector<int32_t>;

std::string data(const std::string& name) { return read_file(std::string(SAGE_TEST_DATA) + "/tokenizer/opt/" + name); }

// The two files that facebook/opt-* ship in place of the fixture's tokenizer.json.
Files opt_files() {
  const Json model = Json::parse(data("tokenizer.json")).at("model");
  std::string merges = "#version: 0.2\n";
  for (const Json& m : model.at("merges"))
    merges += m.at(0).get<std::string>() + " " + m.at(1).get<std::string>() + "\n";
  return {{"vocab.json", model.at("vocab").dump()}, {"merges.txt", merges}};
}
Json token(const std::string& content, const Json& more = Json::object()) {
  Json t = {{"content", content}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}};
  t.update(more);
  return t;
}
Files with(const Json& config, const Json& map = {}, const Json& added = {}) {
  Files files = opt_files();
  files["tokenizer_config.json"] = config.dump();
  if (!map.is_null()) files["special_tokens_map.json"] = map.dump();
  if (!added.is_null()) files["added_tokens.json"] = added.dump();
  return files;
}
Ids ids(const Files& files, const std::string& text, bool special = true) {
  return Tokenizer::from_texts(files, "DIR").encode(text, special);
}
constexpr const char* kHello = "Hello <x> world<pad>";
constexpr const char* kMask = "<mask> a  <mask>b<unk>";

TEST(TokenizerFolder, OptGivesTheIdsOfItsTokenizerJson) {
  // The fixture's tokenizer.json takes <s> and <unk> for special, too.
  const Tokenizer t = Tokenizer::from_texts(with({{"tokenizer_class", "GPT2Tokenizer"},
                                                  {"bos_token", token("</s>")},
                                                  {"eos_token", token("</s>")},
                                                  {"unk_token", token("<unk>")},
                                                  {"pad_token", token("<pad>")},
                                                  {"additional_special_tokens", {"<s>"}},
                                                  {"add_bos_token", true}}),
                                            "DIR");
  EXPECT_EQ(t.vocabulary_size(), 1200);
  EXPECT_EQ(t.leading_special(), 2);
  const Json cases = Json::parse(data("cases.json")).at("cases");
  ASSERT_GE(cases.size(), 100u);
  for (const Json& c : cases) {
    const auto text = c.at("text").get<std::string>();
    EXPECT_EQ(t.encode(text, false), c.at("ids").get<Ids>()) << c.dump();
    EXPECT_EQ(t.encode(text, true), c.at("ids_with_special").get<Ids>()) << c.dump();
    EXPECT_EQ(t.decode(c.at("ids").get<Ids>()), c.at("decoded").get<std::string>()) << c.dump();
  }
}

TEST(TokenizerFolder, OptAsPublished) {
  const Json end = token("</s>", {{"normalized", true}}), pad = token("<pad>", {{"normalized", true}});
  const Json names = {{"bos_token", end}, {"eos_token", end}, {"unk_token", end}, {"pad_token", pad}};
  Json config = names;
  config.update(Json{{"add_bos_token", true}, {"add_prefix_space", false}, {"tokenizer_class", "GPT2Tokenizer"}});
  const Ids expected = {2, 43, 305, 461, 1065, 224, 2, 224, 31, 86, 33, 91, 1, 92};
  const std::string text = "Hello world </s> <s>x<pad>y";
  EXPECT_EQ(ids(with(config, names), text), expected);
  // The older layout: the names in special_tokens_map.json alone.
  EXPECT_EQ(ids(with({{"add_bos_token", true}}, names), text), expected);
}

TEST(TokenizerFolder, PrefixSpace) {
  const Files files = with({{"tokenizer_class", "GPT2Tokenizer"},
                            {"add_prefix_space", true},
                            {"bos_token", "<s>"},
                            {"eos_token", "</s>"},
                            {"unk_token", "<unk>"},
                            {"add_bos_token", true}});
  EXPECT_EQ(ids(files, kHello), (Ids{0, 340, 305, 461, 224, 31, 91, 33, 1065, 31, 83, 331, 33}));
  EXPECT_EQ(ids(files, ""), (Ids{0}));
}

TEST(TokenizerFolder, AddedTokensJson) {
  const Files files =
      with({{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}},
           {{"mask_token", token("<mask>", {{"lstrip", true}})}, {"pad_token", "<pad>"}}, {{"<x>", 1200}, {"<mask>", 1201}});
  EXPECT_EQ(ids(files, kHello), (Ids{43, 305, 461, 224, 1200, 1065, 1}));
  EXPECT_EQ(ids(files, kMask), (Ids{1201, 261, 321, 1201, 69, 3}));
  const Tokenizer t = Tokenizer::from_texts(files, "DIR");
  EXPECT_FALSE(t.leading_special().has_value());
  EXPECT_EQ(t.decode(Ids{1200, 1201, 1}, true), "<x>");  // <mask> and <pad> have names, so they are special
}

TEST(TokenizerFolder, AddedTokensDecoder) {
  const Files files = with({{"bos_token", "</s>"},
                            {"eos_token", "</s>"},
                            {"unk_token", "</s>"},
                            {"add_bos_token", true},
                            {"added_tokens_decoder",
                             {{"1", token("<pad>", {{"special", true}})},
                              {"2", token("</s>", {{"special", true}})},
                              {"1200", token("<x>", {{"rstrip", true}})},
                              {"1201", token("<mask>", {{"special", true}, {"lstrip", true}})}}}});
  EXPECT_EQ(ids(files, kHello), (Ids{2, 43, 305, 461, 224, 1200, 90, 276, 450, 1}));
  EXPECT_EQ(ids(files, kMask), (Ids{2, 1201, 261, 1201, 69, 31, 349, 78, 33}));
}

TEST(TokenizerFolder, NamedTokensOutsideTheVocabularyGetTheNextIds) {
  const Files files = with({{"bos_token", "<s>"},
                            {"eos_token", "</s>"},
                            {"unk_token", "<unk>"},
                            {"mask_token", "<mask>"},
                            {"additional_special_tokens", {"<x>"}},
                            {"add_bos_token", true}});
  EXPECT_EQ(ids(files, kHello), (Ids{0, 43, 305, 461, 224, 1201, 1065, 31, 83, 331, 33}));
  EXPECT_EQ(ids(files, kMask), (Ids{0, 1200, 261, 321, 1200, 69, 3}));
}

TEST(TokenizerFolder, WhichFileCounts) {
  const TemporaryFolder folder;
  const auto write = [&](const Files& files) {
    for (const auto& [name, text] : files)
      std::ofstream(folder.path() + "/" + name, std::ios::binary) << text;
  };
  const auto error = [&] {
    try {
      Tokenizer::from_folder(folder.path());
    } catch (const ResourceError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(error().find(folder.path() + ": no tokenizer; expected tokenizer.json, or vocab.json with merges.txt"),
            std::string::npos)
      << error();
  write({{"tokenizer.model", "?"}});
  EXPECT_NE(error().find("save_pretrained"), std::string::npos) << error();

  write({{"vocab.json", opt_files()["vocab.json"]}});
  EXPECT_NE(error().find("vocab.json is there, merges.txt is not"), std::string::npos) << error();
  write(opt_files());
  const Tokenizer two = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(two.encode("Hello", true), (Ids{43, 305, 461}));
  write({{"tokenizer_config.json", R"({"add_bos_token": true, "bos_token": "</s>"})"}});
  const Tokenizer three = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(three.encode("Hello", true), (Ids{2, 43, 305, 461}));
  EXPECT_NE(two.digest(), three.digest());

  // A tokenizer.json counts before them.
  write({{"tokenizer.json", R"({"model": {"type": "BPE", "vocab": {"H": 0, "</s>": 1}, "merges": []}})"}});
  const Tokenizer own = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(own.encode("H</s>", true), (Ids{0, 1}));
}

void expect_error(const std::string& file, const std::string& text, const std::string& part) {
  Files files = opt_files();
  files[file] = text;
  try {
    Tokenizer::from_texts(files, "DIR");
    ADD_FAILURE() << file << ": no error; expected one with: " << part;
  } catch (const ResourceError& e) {
    const std::string what = e.what();
    EXPECT_NE(what.find(part), std::string::npos) << what;
    EXPECT_EQ(what.rfind("DIR", 0), 0u) << what;
  }
}

TEST(TokenizerFolder, BrokenFiles) {
  expect_error("vocab.json", "", "DIR/vocab.json: is empty");
  expect_error("vocab.json", "{", "DIR/vocab.json: not JSON");
  expect_error("vocab.json", "[]", "DIR/vocab.json: found array; expected an object");
  expect_error("vocab.json", R"({"a": -1})", "id -1");
  expect_error("vocab.json", R"({"a": 0, "b": 0})", "both have id 0");
  expect_error("vocab.json", R"({"a": 99999999999})", "id 99999999999");
  expect_error("vocab.json", "{}", "not in the vocabulary");
  expect_error("vocab.json", std::string(1'000'000, '['), "nested deeper");
  expect_error("merges.txt", "#version: 0.2\nh e\nhe\n", "DIR/merges.txt: line 3: found \"he\"");
  expect_error("merges.txt", "h e\n\nh e\n", "line 2");
  expect_error("merges.txt", "h e l\n", "two tokens");
  expect_error("merges.txt", "h \xE2\x98\x83\n", "DIR/merges.txt: line 1: names the token");
  expect_error("merges.txt", std::string(1'000'000, 'a'), "two tokens");
  expect_error("tokenizer_config.json", R"({"tokenizer_class": "RobertaTokenizer"})", "save_pretrained");
  expect_error("tokenizer_config.json", R"({"add_bos_token": true})", "no token \"<|endoftext|>\"");
  expect_error("tokenizer_config.json", R"({"add_eos_token": true})", "no token \"<|endoftext|>\"");
  expect_error("tokenizer_config.json", R"({"add_bos_token": 1})", "true or false");
  expect_error("tokenizer_config.json", R"({"bos_token": 3})", "DIR/tokenizer_config.json: bos_token");
  expect_error("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})", "a token id");
  expect_error("tokenizer_config.json", R"({"added_tokens_decoder": {"4000": {"content": "<x>"}}})", "next free id");
  expect_error("tokenizer_config.json", R"({"added_tokens_decoder": {"7": {"content": "<x>"}}})", "next free id");
  expect_error("special_tokens_map.json", "[]", "an object");
  expect_error("special_tokens_map.json", R"({"additional_special_tokens": "<x>"})", "a list");
  expect_error("added_tokens.json", R"({"<x>": "1200"})", "a token id");
  expect_error("added_tokens.json", R"({"<x>": 4194303})", "next free id");
}

TEST(TokenizerFolder, LineEndsAndMissingVersion) {
  Files files = opt_files();
  const Ids expected = ids(files, "the other side");
  std::string& merges = files["merges.txt"];
  merges = merges.substr(merges.find('\n') + 1);  // without "#version" the first line is a merge
  EXPECT_EQ(ids(files, "the other side"), expected);
  std::string windows;
  for (char c : merges)
    windows += c == '\n' ? std::string("\r\n") : std::string(1, c);
  merges = windows;
  EXPECT_EQ(ids(files, "the other side"), expected);
  merges = "\xEF\xBB\xBF#version: 0.2\r\n" + windows;
  EXPECT_EQ(ids(files, "the other side"), expected);
  merges.resize(merges.size() - 2);  // no end of line after the last merge
  EXPECT_EQ(ids(files, "the other side"), expected);
}

}  // namespace
}  // namespace sage
