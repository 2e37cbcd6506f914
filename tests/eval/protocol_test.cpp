#include "core/eval/protocol.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {
namespace {

std::vector<int32_t> counting(int n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 100);
  return ids;
}

TEST(Protocol, Gptq) {
  const Protocol p = find_protocol("gptq-2048");
  EXPECT_EQ(p.window, 2048);
  EXPECT_EQ(p.stride, 2048);
  EXPECT_EQ(p.scored_per_window(), 2047);
  EXPECT_EQ(p.bos, BosMode::kTextStart);
  EXPECT_EQ(p.join, TextJoin::kGptq);
  EXPECT_EQ(p.aggregate, Aggregate::kWindowMeans);
}

TEST(Protocol, LlamaCppScoresTargets257To511) {
  const Protocol p = find_protocol("llamacpp-512");
  EXPECT_EQ(p.window, 512);
  EXPECT_EQ(p.first_scored, 257);
  EXPECT_EQ(p.scored_per_window(), 255);
  EXPECT_EQ(p.bos, BosMode::kOverwriteFirst);
  EXPECT_EQ(p.join, TextJoin::kRawFile);
  EXPECT_EQ(p.aggregate, Aggregate::kTargets);
  EXPECT_NE(p.words().find("targets 257..511"), std::string::npos);
}

TEST(Protocol, OtherLengthsAndNonsense) {
  EXPECT_EQ(find_protocol("gptq-128").window, 128);
  EXPECT_EQ(find_protocol("llamacpp-64").first_scored, 33);
  for (const char* bad :
       {"", "gptq", "gptq-", "gptq-3", "gptq-0128", "gptq-2048x", "gptq--5", "llama-512", "gptq-99999999999999999999"})
    EXPECT_THROW(find_protocol(bad), UserError) << bad;
}

TEST(Windows, SideBySideTailDropped) {
  const auto ids = counting(23);
  const TokenWindows w = cut_windows(ids, find_protocol("gptq-5"), 0, 7);
  EXPECT_EQ(w.count, 4);
  EXPECT_EQ(w.available, 4);
  EXPECT_EQ(w.text_tokens, 23);
  EXPECT_EQ(w.scored_tokens(), 16);
  EXPECT_EQ(w.ids, counting(20));  // no BOS is put in
  EXPECT_EQ(cut_windows(ids, find_protocol("gptq-5"), 2, 7).count, 2);
  EXPECT_EQ(cut_windows(ids, find_protocol("gptq-5"), 9, 7).count, 4);
  EXPECT_EQ(w.tokens_digest, sha256_hex({reinterpret_cast<const char*>(ids.data()), ids.size() * 4}));
  EXPECT_THROW(cut_windows(counting(4), find_protocol("gptq-5"), 0, 7), UserError);
  EXPECT_THROW(cut_windows(ids, find_protocol("gptq-5"), -1, 7), UserError);
}

TEST(Windows, BosOverwritesTheFirstTokenOfEach) {
  const TokenWindows w = cut_windows(counting(12), find_protocol("llamacpp-4"), 0, 7);
  EXPECT_EQ(w.ids, (std::vector<int32_t>{7, 101, 102, 103, 7, 105, 106, 107, 7, 109, 110, 111}));
  EXPECT_EQ(cut_windows(counting(12), find_protocol("llamacpp-4"), 0, std::nullopt).ids, counting(12));
}

TEST(Windows, Stride) {
  Protocol p = find_protocol("gptq-4");
  p.stride = 2;
  const TokenWindows w = cut_windows(counting(9), p, 0, std::nullopt);
  EXPECT_EQ(w.count, 3);
  EXPECT_EQ(w.ids, (std::vector<int32_t>{100, 101, 102, 103, 102, 103, 104, 105, 104, 105, 106, 107}));
  p.first_scored = 4;
  EXPECT_THROW(cut_windows(counting(9), p, 0, std::nullopt), UserError);
}

// The template's BOS stands at the very start only under gptq, at the start of each window under llamacpp.
TEST(Windows, FromATokenizerWithBos) {
  const Tokenizer t = Tokenizer::from_file(std::string(SAGE_TEST_DATA) + "/tokenizer/llama3/tokenizer.json");
  Text text;
  text.name = text.path = "t.txt";
  text.documents = {"one two three four five six seven eight nine ten"};
  const TokenWindows g = make_windows(t, text, find_protocol("gptq-8"));
  ASSERT_GE(g.count, 2);
  EXPECT_EQ(g.window(0)[0], 1200);
  EXPECT_NE(g.window(1)[0], 1200);
  const TokenWindows l = make_windows(t, text, find_protocol("llamacpp-8"));
  for (int64_t i = 0; i < l.count; ++i) {
    EXPECT_EQ(l.window(i)[0], 1200);
    EXPECT_EQ(l.window(i)[1], g.window(i)[1]);  // overwritten, not inserted
  }
}

}  // namespace
}  // namespace sage
