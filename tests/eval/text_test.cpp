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
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

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

// Numbers are of the bytes; what a reader of the text would not see in them is said.
TEST_F(TextTest, MarksAndCarriageReturnsAreSaid) {
  const std::string lines = "one line\ntwo lines\n";
  EXPECT_EQ(load_text(write("lf.txt", lines)).note, "");
  const std::string returns = "one line\r\ntwo lines\r\n";
  const Text crlf = load_text(write("crlf.txt", returns));
  EXPECT_EQ(crlf.documents.at(0), returns);
  test::expect_words(crlf.note, {"crlf.txt holds 2 carriage returns (2 line feeds)"});
  const Text mark = load_text(write("bom.txt", "\xEF\xBB\xBF" + lines));
  EXPECT_EQ(mark.documents.at(0), "\xEF\xBB\xBF" + lines);
  test::expect_words(mark.note, {"bom.txt holds a byte order mark (U+FEFF) at its start"});
  const Text both = load_text(write("both.txt", lines + "\xEF\xBB\xBF" + "a\r\xEF\xBB\xBF"));
  test::expect_words(both.note, {"2 byte order marks", "and 1 carriage return (2 line feeds)"});
  test::expect_words(load_text(write("page.txt", "<!DOCTYPE html><p>text</p>")).note,
                     {"page.txt holds the markup of a web page"});
  EXPECT_EQ(load_text(write("page.html", "<!DOCTYPE html><p>text</p>")).note, "");
}

TEST_F(TextTest, WarnsOfThemOnce) {
  const std::string path = write("once.txt", "a\r\nb\r\n");
  testing::internal::CaptureStderr();
  load_text(path);
  load_text(path);
  const std::string said = testing::internal::GetCapturedStderr();
  test::expect_words(said, {"warning: " + path, "2 carriage returns"});
  EXPECT_EQ(said.find("warning"), said.rfind("warning")) << said;
}

// Line ends of a .jsonl are no part of its documents, nor is a mark at its start.
TEST_F(TextTest, JsonLinesFromWindows) {
  const Text t = load_text(write("w.jsonl", "\xEF\xBB\xBF{\"text\": \"one\"}\r\n\r\n{\"text\": \"two\"}\r\n\r\n"));
  EXPECT_EQ(t.documents, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(t.note, "");
  test::expect_words(load_text(write("r.jsonl", "{\"text\": \"one\\r\\ntwo\"}\n")).note, {"1 carriage return"});
  EXPECT_ERROR(ResourceError, load_text(write("bad.jsonl", "\r\n{\"text\": 1}\r\n")), "bad.jsonl:2:");
}

TEST_F(TextTest, OtherKindsOfFiles) {
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:2d71\nsize 134515008\n";
  for (const char* name : {"p.txt", "p.jsonl"})
    EXPECT_ERROR(ResourceError, load_text(write(name, pointer)), "is a Git LFS pointer, not the data itself",
                 "`git lfs pull` in " + folder_);
  EXPECT_NO_THROW(load_text(write("about.txt", pointer + std::string(1024, 'x'))));  // a text about them
  EXPECT_ERROR(ResourceError, load_text(write("page.jsonl", "<html></html>")), "is a web page");
  EXPECT_ERROR(ResourceError,
               load_text(write("u.txt", std::string("\xFF\xFE"
                                                    "a\0b\0",
                                                    6))),
               "text in UTF-16", "iconv -f UTF-16");
  EXPECT_ERROR(ResourceError, load_text(write("z.txt", std::string("\x1F\x8B\x08\0", 4))), "gzip-compressed", "gunzip");
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
