// Token samples for calibration: N sequences of L tokens each, drawn from a text as the released code of GPTQ, PB-LLM and BiLLM
// draws them (its random.seed(s), random.randint and tokenizer, special tokens on).
//
//   windows              the whole text joined and tokenized once, T tokens; sample i starts at offset randint(0, T - L - 1).
//                        WikiText-2 and PTB in all three repositories (joined with "\n\n" in GPTQ, with " " in the others).
//   documents            sample i: document randint(0, D - 1), tokenized, drawn again until it has more than L tokens; then
//                        offset randint(0, length - L - 1). C4 in PB-LLM and BiLLM.
//   documents_at_least   the same, accepting length >= L. C4 in GPTQ, whose randint(0, -1) raises on a document of exactly L
//                        tokens; here such a document is taken whole, without a draw.
//
// The draws depend on the tokenizer (rejections), so families get different samples. Where we differ: a document's length is
// remembered, so drawing it again costs nothing; drawing ends with an error instead of looping when no document fits.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "core/calibration/python_random.h"
#include "core/eval/text.h"
#include "core/model/tokenizer.h"

namespace sage {

enum class SampleRule { kWindows, kDocuments, kDocumentsAtLeast };
const char* sample_rule_name(SampleRule rule);  // "windows", "documents", "documents_at_least"

struct SampleOptions {
  SampleRule rule = SampleRule::kWindows;
  TextJoin join = TextJoin::kGptq;  // for windows
  int64_t samples = 128;
  int64_t length = 2048;  // tokens
  uint64_t seed = 0;
};

// Tokens [offset, offset + length) of a document; document 0 is the joined text under `windows`.
struct SamplePlace {
  int64_t document = 0;
  int64_t offset = 0;
  bool operator==(const SamplePlace&) const = default;
};

struct SampleSet {
  SampleOptions options;
  std::vector<int32_t> ids;  // samples x length
  std::vector<SamplePlace> places;
  // SHA-256 of tokenizer, text, options and ids: everything the samples are. Part of the keys of caches and runs.
  std::string digest;
  std::string text_name, text_digest, tokenizer_digest;

  std::span<const int32_t> sample(int64_t i) const {
    return std::span(ids).subspan(static_cast<size_t>(i * options.length), static_cast<size_t>(options.length));
  }
};

// UserError: samples or length out of range (1 .. 2^20 and 2 .. 2^20, 2^30 tokens in all); a text with fewer than L + N tokens
// (fewer places than samples); no document that is long enough, or none found in kMaxDraws draws. Errors of the tokenizer.
SampleSet draw_samples(const Tokenizer& tokenizer, const Text& text, const SampleOptions& options);

// The draws alone. `text_name` stands in messages; `length_of(d)` is asked once at most for each document.
inline constexpr int64_t kMaxDraws = 200'000;  // for one sample
std::vector<SamplePlace> draw_windows(int64_t tokens, const SampleOptions& options, const std::string& text_name);
std::vector<SamplePlace> draw_documents(int64_t documents, const std::function<int64_t(int64_t)>& length_of,
                                        const SampleOptions& options, const std::string& text_name);

}  // namespace sage
