#include "core/eval/text.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/eval/protocol.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {
namespace {

class TextTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "sage_eval_text_" + std::to_string(getpid());
    std::filesystem::create_directories(folder_);
    if (const char* v = std::getenv("SAGEPTQ_DATA")) data_ = v;
    if (const char* v = std::getenv("SAGEPTQ_CACHE")) cache_ = v;
  }
  void TearDown() override {
    std::filesystem::remove_all(folder_);
    restore("SAGEPTQ_DATA", data_);
    restore("SAGEPTQ_CACHE", cache_);
  }
  static void restore(const char* name, const std::optional<std::string>& value) {
    value ? setenv(name, value->c_str(), 1) : unsetenv(name);
  }
  std::string write(const std::string& name, const std::string& bytes) {
    const std::string path = folder_ + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    write_file_atomically(path, bytes);
    return path;
  }
  std::string folder_;
  std::optional<std::string> data_, cache_;
};

TEST_F(TextTest, GptqJoin) {
  const std::string rows = " \n = Title = \n \n A line . \n B";
  const Text t = load_text(write("a.txt", rows));
  EXPECT_EQ(join_text(t, TextJoin::kRawFile), rows);
  EXPECT_EQ(join_text(t, TextJoin::kGptq), "\n\n = Title = \n\n\n\n\n A line . \n\n\n B");
  EXPECT_EQ(t.name, "a.txt");
  EXPECT_EQ(t.digest, sha256_hex(rows));
}

TEST_F(TextTest, JsonLinesAndGzip) {
  const std::string lines = "{\"text\": \"one\", \"url\": 1}\n\n{\"text\": \"two\\n\"}\n";
  EXPECT_EQ(join_text(load_text(write("d.jsonl", lines)), TextJoin::kGptq), "one two\n");
  EXPECT_EQ(join_text(load_text(write("d.jsonl", lines)), TextJoin::kRawFile), "one\ntwo\n\n");
  const std::string gz = folder_ + "/d.jsonl.gz";
  gzFile out = gzopen(gz.c_str(), "wb");
  gzwrite(out, lines.data(), static_cast<unsigned>(lines.size()));
  gzclose(out);
  const Text t = load_text(gz);
  EXPECT_EQ(join_text(t, TextJoin::kGptq), "one two\n");
  EXPECT_EQ(t.digest, sha256_hex(lines));  // of the uncompressed bytes
}

TEST_F(TextTest, Broken) {
  EXPECT_THROW(load_text("no_such_name"), UserError);
  EXPECT_THROW(load_text(folder_ + "/absent.txt"), ResourceError);
  EXPECT_THROW(load_text(write("bad.txt", "a\xFF")), ResourceError);
  for (const char* line : {"{", "[]", "{\"txt\": \"a\"}", "{\"text\": 1}"})
    EXPECT_THROW(load_text(write("bad.jsonl", line)), ResourceError) << line;
  EXPECT_THROW(load_text(write("deep.jsonl", std::string(100'000, '['))), ResourceError);
}

TEST_F(TextTest, NamesResolve) {
  setenv("SAGEPTQ_DATA", (folder_ + "/data").c_str(), 1);
  setenv("SAGEPTQ_CACHE", (folder_ + "/cache").c_str(), 1);
  EXPECT_THROW(load_text("wikitext2:test"), ResourceError);
  write("data/wikitext-2/wiki.test.raw", "wiki");
  write("data/wikitext-2/wiki.train.head-nonblank.raw", "train");
  write("cache/texts/enwiki-articles/test.txt", "enwiki");
  for (const char* name : {"wikitext2", "wikitext2:test", "wikitext-2", "default", "default:test"})
    EXPECT_EQ(load_text(name).documents.at(0), "wiki") << name;
  EXPECT_EQ(load_text("default:calibration").documents.at(0), "train");
  EXPECT_EQ(load_text("enwiki:test").documents.at(0), "enwiki");
  unsetenv("SAGEPTQ_DATA");
  EXPECT_EQ(load_text("default").documents.at(0), "enwiki");
  EXPECT_THROW(load_text("wikitext2:test"), ResourceError);
  EXPECT_THROW(load_text("default:calibration"), ResourceError);
  EXPECT_THROW(load_text("wikitext2:tets"), UserError);
}

// Token ids of the whole WikiText-2 test under both joins, by digest, against the Python libraries.
TEST(WikiText2, TokensUnderBothJoins) {
  const std::string path = cache_folder() + "/models/SmolLM2-135M-Instruct/tokenizer.json";
  if (std::getenv("SAGEPTQ_DATA") == nullptr) GTEST_SKIP() << "SAGEPTQ_DATA is not set";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: fetch the default model to run this test";
  const auto expected = nlohmann::json::parse(read_file(std::string(SAGE_TEST_DATA) + "/smollm2/wikitext2.json")).at("text");
  const Tokenizer tokenizer = Tokenizer::from_file(path);
  const Text text = load_text("wikitext2:test");
  EXPECT_EQ(text.digest, "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08");
  for (const auto& [protocol, join] : {std::pair{"gptq-2048", "gptq"}, std::pair{"llamacpp-512", "raw_file"}}) {
    const TokenWindows w = make_windows(tokenizer, text, find_protocol(protocol));
    EXPECT_EQ(w.text_tokens, expected[join]["tokens"].get<int64_t>()) << join;
    EXPECT_EQ(w.tokens_digest, expected[join]["sha256_int32le"].get<std::string>()) << join;
  }
}

}  // namespace
}  // namespace sage
