// What a perplexity means: how the text becomes windows, which positions count, and how their losses become one number.
// Two protocols are in use, and their numbers cannot be compared:
//
//   gptq-L      (GPTQ, PB-LLM, BiLLM and nearly all papers, L = 2048): rows joined with two line feeds and tokenized once with
//               special tokens, so that a BOS stands at the very start only; windows of L tokens side by side, the rest
//               dropped; all L - 1 next tokens count; exp(mean of the window means). The released evaluators work in FP16; this
//               is FP32.
//   llamacpp-L  (llama-perplexity, L = 512): the file as it is; windows of L tokens side by side; if the tokenizer has a BOS,
//   it
//               overwrites the first token of each window; only the second half counts, targets L/2 + 1 .. L - 1, each with at
//               least L/2 tokens before it; exp(mean over all targets).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/eval/text.h"
#include "core/model/tokenizer.h"

namespace sage {

enum class BosMode {
  kTextStart,       // whatever the tokenizer's template puts around a text, once
  kOverwriteFirst,  // the BOS replaces the first token of every window; nothing if the tokenizer has none
};
enum class Aggregate {
  kWindowMeans,  // exp(mean over windows of the mean over targets)
  kTargets,      // exp(mean over all targets)
};

struct Protocol {
  std::string name;          // "gptq-2048"
  int64_t window = 2048;     // tokens per window
  int64_t stride = 2048;     // tokens from the start of one window to the next
  int64_t first_scored = 1;  // first target inside a window; targets are first_scored .. window - 1
  BosMode bos = BosMode::kTextStart;
  TextJoin join = TextJoin::kGptq;
  Aggregate aggregate = Aggregate::kWindowMeans;

  int64_t scored_per_window() const { return window - first_scored; }
  // One line with every field, e.g. for tables and as part of cache keys.
  std::string words() const;
};
const char* bos_mode_name(BosMode mode);          // "text_start", "overwrite_first"
const char* aggregate_name(Aggregate aggregate);  // "window_means", "targets"

// "gptq-2048", "llamacpp-512", or either with another length of 4 to 2^20 tokens ("gptq-128"). UserError otherwise.
Protocol find_protocol(const std::string& name);
std::vector<std::string> protocol_names_of_papers();  // the two standard ones

// Token windows of one text, ready for the model.
struct TokenWindows {
  Protocol protocol;
  std::vector<int32_t> ids;  // count x window
  int64_t count = 0;
  int64_t available = 0;      // windows the whole text has
  int64_t text_tokens = 0;    // tokens of the whole text
  std::string tokens_digest;  // SHA-256 of the whole text's ids as little-endian int32
  std::string text_name;
  std::string text_digest;
  std::string text_note;  // Text::note
  std::string tokenizer_digest;

  std::span<const int32_t> window(int64_t i) const {
    return std::span(ids).subspan(static_cast<size_t>(i * protocol.window), static_cast<size_t>(protocol.window));
  }
  int64_t scored_tokens() const { return count * protocol.scored_per_window(); }
};

// The first `limit` windows (0 = all). UserError: the text has not one window.
TokenWindows make_windows(const Tokenizer& tokenizer, const Text& text, const Protocol& protocol, int64_t limit = 0);
// The same for ids from elsewhere. bos: what kOverwriteFirst writes, if anything.
TokenWindows cut_windows(std::span<const int32_t> ids, const Protocol& protocol, int64_t limit, std::optional<int32_t> bos);

}  // namespace sage
