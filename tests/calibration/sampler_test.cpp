// Random numbers and samples against CPython and the released samplers (baselines/functions.h5, group calibration_sampling).
#include "core/calibration/sampler.h"

#include <algorithm>
#include <set>

#include "core/util/files.h"
#include "tests/calibration/support.h"
#include "tests/support/h5_fixture.h"

namespace sage::test {
namespace {

constexpr const char* kGroup = "calibration_sampling/";

TEST(PythonRandom, OutputsAndRandintAsCpython) {
  const H5Fixture f("baselines/functions.h5");
  int draws = 0;
  for (const std::string& name : f.children("calibration_sampling")) {
    if (!name.starts_with("seed_")) continue;
    const auto seed = static_cast<uint64_t>(f.attribute<int64_t>(kGroup + name, "seed"));
    for (const std::string& what : f.children(kGroup + name)) {
      SCOPED_TRACE(name + " " + what);
      const std::vector<int64_t> expected = f.integers(kGroup + name + "/" + what);
      PythonRandom random(seed);
      int64_t low = 0, high = 0;
      const bool raw = what == "mt_u32";
      if (!raw) {
        ASSERT_EQ(std::sscanf(what.c_str(), "randint_%ld_%ld", &low, &high), 2);
      }
      for (int64_t e : expected) {
        ASSERT_EQ(raw ? int64_t{random.next_u32()} : random.randint(low, high), e);
        ++draws;
      }
    }
  }
  EXPECT_EQ(draws, 5 * (16 + 9 * 24));
}

// Published values: the first outputs of seed 0 and random.Random(0).randint.
TEST(PythonRandom, KnownValues) {
  PythonRandom a(0);
  EXPECT_EQ(a.next_u32(), 3626764237u);
  EXPECT_EQ(a.next_u32(), 1654615998u);
  EXPECT_EQ(a.next_u32(), 3255389356u);
  PythonRandom b(0);
  for (int64_t e : {885440, 403958, 794772, 933488, 441001})
    EXPECT_EQ(b.randint(0, 999999), e);
  PythonRandom c(0);
  for (int64_t e : {201979, 220500, 21225, 135746, 268055})
    EXPECT_EQ(c.randint(0, 356316), e);
}

// More than 32 bits: the low word first, the rest from the top of the next output.
TEST(PythonRandom, WideDraws) {
  PythonRandom raw(5), wide(5);
  for (int bits : {33, 40, 63, 64}) {
    const uint64_t low = raw.next_u32(), high = raw.next_u32();
    EXPECT_EQ(wide.getrandbits(bits), low | high >> (64 - bits) << 32) << bits;
  }
}

TEST(Sampler, DrawsOfTheReleasedSamplers) {
  const H5Fixture f("baselines/functions.h5");
  const std::vector<int64_t> lengths = f.integers("calibration_sampling/document_lengths");
  const int64_t window = f.attribute<int64_t>("calibration_sampling", "window");
  const int64_t tokens = f.attribute<int64_t>("calibration_sampling", "wikitext_tokens");
  int cases = 0;
  for (const std::string& name : f.children("calibration_sampling")) {
    const bool gptq = name.starts_with("gptq_");
    if (!gptq && !name.starts_with("billm_")) continue;
    SCOPED_TRACE(name);
    SampleOptions o;
    o.rule = gptq ? SampleRule::kDocumentsAtLeast : SampleRule::kDocuments;
    o.length = window;
    o.samples = f.attribute<int64_t>(kGroup + name, "samples");
    o.seed = static_cast<uint64_t>(f.attribute<int64_t>(kGroup + name, "seed"));
    const std::vector<int64_t> documents = f.integers(kGroup + name + "/c4_document");
    const std::vector<int64_t> offsets = f.integers(kGroup + name + "/c4_offset");
    std::set<int64_t> asked;
    const std::vector<SamplePlace> places = draw_documents(
        static_cast<int64_t>(lengths.size()),
        [&](int64_t d) {
          EXPECT_TRUE(asked.insert(d).second) << "document " << d << " tokenized twice";
          return lengths[static_cast<size_t>(d)];
        },
        o, "made up");
    ASSERT_EQ(places.size(), documents.size());
    for (size_t i = 0; i < places.size(); ++i)
      EXPECT_EQ(places[i], (SamplePlace{documents[i], offsets[i]})) << i;
    o.rule = SampleRule::kWindows;
    const std::vector<int64_t> wikitext = f.integers(kGroup + name + "/wikitext_offset");
    const std::vector<SamplePlace> windows = draw_windows(tokens, o, "made up");
    ASSERT_EQ(windows.size(), wikitext.size());
    for (size_t i = 0; i < windows.size(); ++i)
      EXPECT_EQ(windows[i], (SamplePlace{0, wikitext[i]})) << i;
    ++cases;
  }
  EXPECT_EQ(cases, 6);
}

// Where GPTQ's own loop raises: a document of exactly L tokens.
TEST(Sampler, ExactlyAsLongDocuments) {
  SampleOptions o;
  o.samples = 20;
  o.length = 10;
  o.rule = SampleRule::kDocumentsAtLeast;
  const auto lengths = [](int64_t d) { return d == 0 ? 10 : 5; };
  for (const SamplePlace& p : draw_documents(3, lengths, o, "t"))
    EXPECT_EQ(p, (SamplePlace{0, 0}));
  o.rule = SampleRule::kDocuments;
  expect_words(message_of<UserError>([&] { draw_documents(3, lengths, o, "my.jsonl"); }),
               {"my.jsonl", "at least 11 tokens", "3 of 3", "longest has 10", "calibration.rule: windows"});
}

// The one long document among millions is never looked for forever.
TEST(Sampler, EndsWhenNothingFits) {
  SampleOptions o;
  o.rule = SampleRule::kDocuments;
  const std::string message = message_of<UserError>([&] {
    draw_documents(
        int64_t{1} << 24, [](int64_t d) { return d % 100; }, o, "huge.jsonl");
  });
  expect_words(message, {"huge.jsonl", "at least 2049 tokens", "longest has 99"});
  EXPECT_THROW(draw_documents(
                   0, [](int64_t) { return 1; }, o, "empty.jsonl"),
               UserError);
}

TEST(Sampler, TextTooShort) {
  SampleOptions o;
  o.samples = 8;
  o.length = 100;
  EXPECT_EQ(draw_windows(108, o, "t").size(), 8u);
  expect_words(message_of<UserError>([&] { draw_windows(107, o, "short.txt"); }),
               {"short.txt", "107 tokens", "at least 108", "8 samples of 100", "longer text"});
  for (const auto& [samples, length] : {std::pair<int64_t, int64_t>{0, 8}, {8, 1}, {1 << 20, 1 << 20}}) {
    o.samples = samples;
    o.length = length;
    EXPECT_THROW(draw_windows(int64_t{1} << 40, o, "t"), UserError);
  }
}

class TokenSamples : public testing::Test {
 protected:
  TokenSamples() : tokenizer_(Tokenizer::from_file(std::string(SAGE_TEST_DATA) + "/tokenizer/llama3/tokenizer.json")) {}
  Text load(const std::string& name, const std::string& bytes) {
    write_file_atomically(folder_.path() + "/" + name, bytes);
    return load_text(folder_.path() + "/" + name);
  }
  TemporaryFolder folder_;
  Tokenizer tokenizer_;
};

std::string sentence(int64_t words, int64_t first) {
  std::string s;
  for (int64_t i = 0; i < words; ++i)
    s.append(i == 0 ? "word" : " word").append(std::to_string((first + i) * 7919 % 1000));
  return s;
}

TEST_F(TokenSamples, AreSlicesOfTheTokenizedDocuments) {
  std::string lines;
  std::vector<std::string> documents;
  for (int64_t d = 0; d < 12; ++d) {
    documents.push_back(sentence(3 + 4 * d, d));
    lines += "{\"text\": \"" + documents.back() + "\"}\n";
  }
  // The shards of C4 are named .json.
  const Text text = load("c4-train.00000-of-01024.json", lines);
  EXPECT_TRUE(text.json_lines);
  SampleOptions o;
  o.rule = SampleRule::kDocuments;
  o.samples = 30;
  o.length = 40;
  o.seed = 3;
  const SampleSet s = draw_samples(tokenizer_, text, o);
  ASSERT_EQ(s.ids.size(), 30u * 40u);
  std::set<int64_t> used;
  for (int64_t i = 0; i < o.samples; ++i) {
    const SamplePlace p = s.places[static_cast<size_t>(i)];
    used.insert(p.document);
    const std::vector<int32_t> ids = tokenizer_.encode(documents[static_cast<size_t>(p.document)], true);
    ASSERT_GT(static_cast<int64_t>(ids.size()), o.length);
    EXPECT_TRUE(std::equal(ids.begin() + p.offset, ids.begin() + p.offset + o.length, s.sample(i).begin()));
  }
  EXPECT_GT(used.size(), 2u);
}

TEST_F(TokenSamples, WindowsUnderEachJoin) {
  const std::string rows = " = A = \n \n " + sentence(40, 0) + " \n " + sentence(40, 50) + " \n";
  const Text text = load("t.txt", rows);
  EXPECT_EQ(join_text(text, TextJoin::kSpaces),
            " = A = \n   " + sentence(40, 0) + " \n  " + sentence(40, 50) + " \n");  // the blank row is an empty one
  std::set<std::string> digests;
  for (TextJoin join : {TextJoin::kGptq, TextJoin::kSpaces, TextJoin::kRawFile}) {
    SampleOptions o;
    o.join = join;
    o.samples = 5;
    o.length = 16;
    const SampleSet s = draw_samples(tokenizer_, text, o);
    const std::vector<int32_t> ids = tokenizer_.encode(join_text(text, join), true);
    for (int64_t i = 0; i < o.samples; ++i)
      EXPECT_TRUE(std::equal(s.sample(i).begin(), s.sample(i).end(), ids.begin() + s.places[static_cast<size_t>(i)].offset));
    digests.insert(s.digest);
  }
  EXPECT_EQ(digests.size(), 3u);
}

TEST_F(TokenSamples, DigestTellsSetsApart) {
  const Text text = load("t.txt", sentence(300, 0)), other = load("u.txt", sentence(300, 1));
  SampleOptions o;
  o.samples = 4;
  o.length = 20;
  std::set<std::string> digests;
  const auto digest = [&](const SampleOptions& options, const Text& t) { return draw_samples(tokenizer_, t, options).digest; };
  const std::string first = digest(o, text);
  EXPECT_EQ(first, digest(o, text));
  digests.insert(first);
  digests.insert(digest(o, other));
  SampleOptions changed = o;
  changed.seed = 1;
  digests.insert(digest(changed, text));
  changed = o;
  changed.samples = 5;
  digests.insert(digest(changed, text));
  changed = o;
  changed.length = 21;
  digests.insert(digest(changed, text));
  changed = o;
  changed.rule = SampleRule::kDocuments;
  digests.insert(digest(changed, text));
  EXPECT_EQ(digests.size(), 6u);
}

TEST_F(TokenSamples, MalformedLineIsNamed) {
  expect_words(message_of<ResourceError>([&] { load("bad.jsonl", "{\"text\": \"a\"}\n{\"text\": 5}\n"); }),
               {"bad.jsonl:2", "no string \"text\""});
}

}  // namespace
}  // namespace sage::test
