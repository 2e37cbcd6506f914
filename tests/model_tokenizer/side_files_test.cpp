// What lies beside a vocabulary: added_tokens.json, special_tokens_map.json, tokenizer_config.json. Expected ids were recorded
// with AutoTokenizer of transformers 5.24 on folders of these files, with tokenizer.json and with vocab.json and merges.txt.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "core/model/tokenizer.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

using Json = nlohmann::json;
using Files = std::map<std::string, std::string>;
using Ids = std::vector<int32_t>;

const Json& recorded() {
  static const Json json = Json::parse(read_file(std::string(SAGE_TEST_DATA) + "/tokenizer/side_files/cases.json"));
  return json;
}
Json own_file(const std::string& kind) {
  Json file = recorded().at("own").at(kind);
  file["model"] = {{"type", "BPE"}, {"vocab", recorded().at("vocab")}, {"merges", recorded().at("merges")}};
  return file;
}
Files base_files(const std::string& kind) {
  if (kind != "two") return {{"tokenizer.json", own_file(kind).dump()}};
  std::string merges = "#version: 0.2\n";
  for (const Json& m : recorded().at("merges"))
    merges += m[0].get<std::string>() + " " + m[1].get<std::string>() + "\n";
  return {{"vocab.json", recorded().at("vocab").dump()}, {"merges.txt", merges}};
}
Files with(const std::string& kind, const Json& beside) {
  Files files = base_files(kind);
  for (const auto& [name, content] : beside.items())
    files[name] = content.dump();
  return files;
}
Tokenizer load(const Files& files) { return Tokenizer::from_texts(files, "DIR"); }
std::string digest(const std::string& kind, const Json& beside = Json::object()) { return load(with(kind, beside)).digest(); }
std::string all_notes(const Tokenizer& t) {
  std::string out;
  for (const std::string& note : t.notes())
    out += note + "\n";
  return out;
}

TEST(TokenizerBeside, IdsOfAutoTokenizer) {
  ASSERT_GE(recorded().at("folders").size(), 55u);
  for (const Json& folder : recorded().at("folders")) {
    const auto name = folder.at("name").get<std::string>();
    const Tokenizer t = load(with(name.substr(0, name.find(':')), folder.at("files")));
    EXPECT_EQ(t.vocabulary_size(), folder.at("size").get<int64_t>()) << name;
    for (size_t i = 0; i < recorded().at("texts").size(); ++i) {
      const auto text = recorded().at("texts")[i].get<std::string>();
      const auto ids = folder.at("ids")[i].get<Ids>();
      EXPECT_EQ(t.encode(text, true), ids) << name << ": '" << text << "'";
      EXPECT_EQ(t.encode(text, false), folder.at("plain_ids")[i].get<Ids>()) << name << ": '" << text << "'";
      EXPECT_EQ(t.decode(ids, true), folder.at("decoded")[i].get<std::string>()) << name << ": '" << text << "'";
    }
  }
}

TEST(TokenizerBeside, FromAFolder) {
  const TemporaryFolder folder;
  folder.write("tokenizer.json", base_files("plain").at("tokenizer.json"));
  EXPECT_FALSE(Tokenizer::from_folder(folder.path()).id_of("<|user|>"));
  folder.write("added_tokens.json", R"({"<|user|>": 266})");
  const Tokenizer t = Tokenizer::from_folder(folder.path());
  EXPECT_EQ(t.id_of("<|user|>"), 266);
  EXPECT_EQ(t.encode("<|user|>", true), (Ids{266}));
  // The file alone is what it says by itself.
  EXPECT_FALSE(Tokenizer::from_file(folder.file("tokenizer.json")).id_of("<|user|>"));
}

// Whatever changes an id changes the digest, and nothing else does.
TEST(TokenizerBeside, DigestCoversWhatDecidesIds) {
  const Json token = {{"content", "<x>"}, {"lstrip", false}, {"rstrip", false}, {"single_word", false}, {"normalized", false}};
  const auto numbered = [&](const char* flag) {
    Json changed = token;
    if (*flag != '\0') changed[flag] = true;
    return Json{{"added_tokens_decoder", {{"266", changed}}}};
  };
  for (const std::string kind : {"own", "two"}) {
    const std::string plain = digest(kind);
    std::set<std::string> seen = {plain};
    const auto expect_new = [&](const Json& beside) {
      EXPECT_TRUE(seen.insert(digest(kind, beside)).second) << kind << ": " << beside.dump();
    };
    expect_new({{"added_tokens.json", {{"<y>", 266}}}});
    expect_new({{"added_tokens.json", {{"<y>", 266}, {"<z>", 267}}}});
    expect_new({{"added_tokens.json", {{"<y>", 267}, {"<z>", 266}}}});
    expect_new({{"special_tokens_map.json", {{"mask_token", "<mask>"}}}});
    for (const char* flag : {"", "lstrip", "rstrip", "single_word", "normalized", "special"})
      expect_new({{"tokenizer_config.json", numbered(flag)}});
    expect_new({{"tokenizer_config.json", {{"split_special_tokens", true}}}});
    expect_new({{"tokenizer_config.json", {{"pad_token", "<pad>"}}}});
    if (kind == "two") {
      expect_new({{"tokenizer_config.json", {{"add_prefix_space", true}}}});
      expect_new({{"tokenizer_config.json", {{"add_bos_token", true}, {"bos_token", "<s>"}}}});
      expect_new({{"tokenizer_config.json", {{"add_eos_token", true}, {"eos_token", "<s>"}}}});
    }
    for (const Json& nothing : {Json{{"chat_template", "{{ x }}"}}, Json{{"model_max_length", 512}},
                                Json{{"padding_side", "left"}}, Json{{"clean_up_tokenization_spaces", true}}})
      EXPECT_EQ(digest(kind, {{"tokenizer_config.json", nothing}}), plain) << nothing.dump();
    Files other = base_files(kind);
    std::string& text = kind == "two" ? other["merges.txt"] : other["tokenizer.json"];
    const std::string last = kind == "two" ? "\xC4\xA0 b" : R"(["Ġ","b"])";
    ASSERT_NE(text.find(last), std::string::npos);
    text.replace(text.find(last), last.size(), kind == "two" ? "\xC4\xA0 a" : R"(["Ġ","a"])");
    EXPECT_TRUE(seen.insert(load(other).digest()).second) << kind << ": merges";
  }
  EXPECT_EQ(digest("own"), sha256_hex(base_files("own").at("tokenizer.json")));
}

TEST(TokenizerBeside, SettingsThatAreNotFollowedAreSaid) {
  const auto notes = [](const Json& config, const std::string& kind = "own") {
    return all_notes(load(with(kind, {{"tokenizer_config.json", config}})));
  };
  EXPECT_EQ(notes({{"add_bos_token", true}, {"add_eos_token", false}, {"add_prefix_space", false}}), "");
  EXPECT_EQ(notes({{"tokenizer_class", "GPT2Tokenizer"}}), "");
  EXPECT_EQ(notes({{"add_bos_token", true}, {"bos_token", "<s>"}, {"add_prefix_space", true}}, "two"), "");  // followed there
  test::expect_words(notes({{"add_bos_token", false}}), {"DIR/tokenizer_config.json: add_bos_token false", "in front of"});
  test::expect_words(notes({{"add_eos_token", true}}), {"add_eos_token true", "nothing behind"});
  test::expect_words(notes({{"add_prefix_space", true}}), {"add_prefix_space true", "tokenizer.json says false"});
  test::expect_words(notes({{"tokenizer_class", "GPT2TokenizerFast"}}, "lower"),
                     {"tokenizer_class \"GPT2Tokenizer\"", "tokenizer.json is followed", "normalizer Lowercase"});
  test::expect_words(all_notes(load(with("own", {{"tokenizer_config.json", {{"added_tokens_decoder", Json::object()}}},
                                                 {"added_tokens.json", {{"<x>", 266}, {"<s>", 256}}}}))),
                     {"DIR/added_tokens.json: \"<x>\"", "added_tokens_decoder"});
}

// LlamaTokenizer builds its own Metaspace, by `legacy` and add_prefix_space.
TEST(TokenizerBeside, LlamaClass) {
  const std::string file = read_file(std::string(SAGE_TEST_DATA) + "/tokenizer/metaspace/tokenizer.json");
  const auto load_llama = [&](const char* scheme, const Json& config) {
    Json own = Json::parse(file);
    own["pre_tokenizer"]["prepend_scheme"] = scheme;
    return load({{"tokenizer.json", own.dump()}, {"tokenizer_config.json", config.dump()}});
  };
  EXPECT_EQ(all_notes(load_llama("first", {{"tokenizer_class", "LlamaTokenizer"}, {"legacy", false}})), "");
  EXPECT_EQ(all_notes(load_llama("always", {{"tokenizer_class", "LlamaTokenizerFast"}, {"legacy", true}})), "");
  EXPECT_EQ(all_notes(load_llama("never", {{"tokenizer_class", "LlamaTokenizer"}, {"add_prefix_space", false}})), "");
  EXPECT_EQ(all_notes(load_llama("always", {{"tokenizer_class", "PreTrainedTokenizerFast"}})), "");
  test::expect_words(all_notes(load_llama("always", {{"tokenizer_class", "LlamaTokenizer"}})), {"LlamaTokenizer", "\"first\""});
  EXPECT_ERROR(ResourceError, load_llama("first", {{"tokenizer_class", "LlamaTokenizer"}, {"add_prefix_space", false}}),
               "DIR/tokenizer_config.json: add_prefix_space: found false", "expected true");
}

TEST(TokenizerBeside, WhatCannotBeFollowedIsRefused) {
  const auto refuse = [](const Json& beside, const std::string& part) {
    for (const std::string kind : {"own", "two"})
      EXPECT_ERROR(ResourceError, load(with(kind, beside)), "DIR", part);
  };
  refuse({{"added_tokens.json", {{"<x>", 300}}}}, "DIR/added_tokens.json:[\"<x>\"]: token \"<x>\" has id 300; expected 266");
  refuse({{"added_tokens.json", {{"<s>", 300}}}}, "expected 256, its id in the vocabulary");
  refuse({{"added_tokens.json", {{"<x>", 3}}}}, "next free id");
  refuse({{"added_tokens.json", Json::array()}}, "an object");
  refuse({{"tokenizer_config.json", {{"added_tokens_decoder", {{"267", {{"content", "<x>"}}}}}}}}, "next free id");
  refuse({{"tokenizer_config.json", {{"add_prefix_space", "yes"}}}}, "true or false");
  refuse({{"tokenizer_config.json", {{"split_special_tokens", 1}}}}, "true or false");
  refuse({{"tokenizer_config.json", {{"a_token", "<x>"}, {"b_token", "<y>"}}}}, "2 special tokens without a number");
  EXPECT_ERROR(
      ResourceError,
      load(with("own", {{"tokenizer_config.json", {{"fast_tokenizer_files", {"tokenizer.json", "tokenizer.4.json"}}}}})),
      "fast_tokenizer_files[1]", "tokenizer.4.json");
  EXPECT_ERROR(
      ResourceError,
      load(with("own", {{"tokenizer_config.json", {{"tokenizer_class", "GPT2Tokenizer"}, {"add_prefix_space", true}}}})),
      "add_prefix_space: found true", "expected false");
}

}  // namespace
}  // namespace sage
