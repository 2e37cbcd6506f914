// Ids, decoded texts: recorded with the `tokenizers` library (0.23.3) for six styles of tokenizer.json.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"
#include "core/model/tokenizer.h"
#include "core/util/files.h"

namespace sage {
namespace {

nlohmann::json cases_of(const std::string& path) { return nlohmann::json::parse(read_file(path)).at("cases"); }
std::string data(const std::string& path) { return std::string(SAGE_TEST_DATA) + "/tokenizer/" + path; }

class TokenizerStyle : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerStyle, AllCases) {
  const std::string style = GetParam();
  const Tokenizer tokenizer = Tokenizer::from_file(data(style + "/tokenizer.json"));
  const auto cases = cases_of(data(style + "/cases.json"));
  ASSERT_GE(cases.size(), 100u);
  for (const auto& c : cases) {
    const auto text = c.at("text").get<std::string>();
    const auto ids = c.at("ids").get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << style << ": " << c.dump();
    EXPECT_EQ(tokenizer.encode(text, true), c.at("ids_with_special").get<std::vector<int32_t>>()) << style << ": " << c.dump();
    EXPECT_EQ(tokenizer.decode(ids), c.at("decoded").get<std::string>()) << style << ": " << c.dump();
  }
}
INSTANTIATE_TEST_SUITE_P(Styles, TokenizerStyle, testing::Values("gpt2", "opt", "llama3", "qwen2", "smollm", "llama2"),
                         [](const auto& info) { return std::string(info.param); });

// The same SentencePiece model as newer converters write it: Metaspace in place of the normalizer.
TEST(Tokenizer, Metaspace) {
  nlohmann::json file = nlohmann::json::parse(read_file(data("llama2/tokenizer.json")));
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}, {"split", false}};
  const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "metaspace");
  int others = 0;
  for (const auto& c : cases_of(data("llama2/cases.json"))) {
    others += c.contains("metaspace") ? 1 : 0;
    EXPECT_EQ(tokenizer.encode(c.at("text").get<std::string>(), true),
              c.at(c.contains("metaspace") ? "metaspace" : "ids_with_special").get<std::vector<int32_t>>())
        << c.dump();
  }
  EXPECT_GT(others, 5);
}

// Where the mark goes, for all schemes and behind other steps, and as AutoTokenizer(...).save_pretrained(...) writes it.
TEST(Tokenizer, PrependSchemes) {
  const nlohmann::json base = nlohmann::json::parse(read_file(data("metaspace/tokenizer.json")));
  const nlohmann::json recorded = nlohmann::json::parse(read_file(data("metaspace/cases.json")));
  ASSERT_GE(recorded.at("variants").size(), 25u);
  for (const auto& variant : recorded.at("variants")) {
    nlohmann::json file = base;
    file.update(variant.at("parts"));
    if (variant.at("name") == "first, Replace") {  // depends on what a text begins with, which is not followed
      EXPECT_THROW(Tokenizer::from_json(file.dump(), "metaspace"), ResourceError);
      continue;
    }
    const Tokenizer tokenizer = Tokenizer::from_json(file.dump(), "metaspace");
    for (size_t i = 0; i < recorded.at("texts").size(); ++i) {
      const auto text = recorded.at("texts")[i].get<std::string>();
      const auto ids = variant.at("ids")[i].get<std::vector<int32_t>>();
      EXPECT_EQ(tokenizer.encode(text, true), ids) << variant.at("name") << ": '" << text << "'";
      EXPECT_EQ(tokenizer.decode(ids, true), variant.at("decoded")[i].get<std::string>())
          << variant.at("name") << ": '" << text << "'";
    }
  }
}

TEST(Tokenizer, SmolLm2OwnVocabulary) {
  const std::string path = cache_folder() + "/models/SmolLM2-135M-Instruct/tokenizer.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: fetch the default model to run this test";
  const Tokenizer tokenizer = Tokenizer::from_file(path);
  EXPECT_EQ(tokenizer.vocabulary_size(), 49152);
  for (const auto& c : cases_of(data("smollm2_135m.cases.json"))) {
    EXPECT_EQ(tokenizer.encode(c.at("text").get<std::string>(), false), c.at("ids").get<std::vector<int32_t>>()) << c.dump();
  }
}

TEST(Tokenizer, LeadingSpecialIsTheTemplatesBos) {
  EXPECT_FALSE(Tokenizer::from_file(data("gpt2/tokenizer.json")).leading_special().has_value());
  EXPECT_EQ(Tokenizer::from_file(data("opt/tokenizer.json")).leading_special(), 2);
  EXPECT_EQ(Tokenizer::from_file(data("llama3/tokenizer.json")).leading_special(), 1200);
}

TEST(Tokenizer, NamesAndIds) {
  const Tokenizer t = Tokenizer::from_file(data("llama3/tokenizer.json"));
  EXPECT_EQ(t.id_of("<|eot_id|>"), 1202);
  EXPECT_EQ(t.token_of(1202), "<|eot_id|>");
  EXPECT_FALSE(t.id_of("no such token").has_value());
  EXPECT_FALSE(t.token_of(1203).has_value());
  EXPECT_EQ(t.vocabulary_size(), 1203);
  EXPECT_EQ(t.digest(), sha256_hex_of_file(data("llama3/tokenizer.json")));
  const std::vector<int32_t> ids = t.encode("a<|eot_id|>b", false);
  EXPECT_EQ(t.decode(ids), "a<|eot_id|>b");
  EXPECT_EQ(t.decode(ids, true), "ab");
}

// Every text survives, whatever its length: words of 200 000 characters must not take quadratic time.
TEST(Tokenizer, LongInputs) {
  for (const char* style : {"gpt2", "llama3", "qwen2", "smollm"}) {
    const Tokenizer t = Tokenizer::from_file(data(std::string(style) + "/tokenizer.json"));
    for (const std::string unit : {" ", "a", "\n", "ab", "!", "1", "\xE4\xB8\xAD", " \n", "e\xCC\x81"}) {
      std::string text;
      for (int i = 0; i < 100'000; ++i)
        text += unit;
      const double start = now_seconds();
      const auto ids = t.encode(text, false);
      EXPECT_LT(now_seconds() - start, 5.0) << style << " '" << unit << "'";
      if (unit != "e\xCC\x81") {
        EXPECT_EQ(t.decode(ids), text) << style;
      }
    }
  }
}

}  // namespace
}  // namespace sage
