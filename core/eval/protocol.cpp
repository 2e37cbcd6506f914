#include "core/eval/protocol.h"

#include <algorithm>
#include <charconv>

#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {

const char* bos_mode_name(BosMode mode) { return mode == BosMode::kTextStart ? "text_start" : "overwrite_first"; }
const char* aggregate_name(Aggregate aggregate) { return aggregate == Aggregate::kWindowMeans ? "window_means" : "targets"; }

std::vector<std::string> protocol_names_of_papers() { return {"gptq-2048", "llamacpp-512"}; }

std::string Protocol::words() const {
  return fmt::format("{}: window {}, stride {}, targets {}..{}, bos {}, join {}, mean over {}", name, window, stride,
                     first_scored, window - 1, bos_mode_name(bos), text_join_name(join), aggregate_name(aggregate));
}

Protocol find_protocol(const std::string& name) {
  constexpr int64_t kShortest = 4, kLongest = int64_t{1} << 20;
  const size_t dash = name.rfind('-');
  const std::string kind = name.substr(0, dash), length = dash == std::string::npos ? "" : name.substr(dash + 1);
  Protocol p;
  p.name = name;
  const auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), p.window);
  const bool number = error == std::errc{} && end == length.data() + length.size() && length[0] != '0';
  if ((kind != "gptq" && kind != "llamacpp") || !number || p.window < kShortest || p.window > kLongest) {
    throw UserError(
        "protocol \"{}\": not known; expected gptq-2048, llamacpp-512, or either with another window of {} to {} tokens; "
        "check the spelling",
        name, kShortest, kLongest);
  }
  p.stride = p.window;
  if (kind == "llamacpp") {
    p.first_scored = p.window / 2 + 1;
    p.bos = BosMode::kOverwriteFirst;
    p.join = TextJoin::kRawFile;
    p.aggregate = Aggregate::kTargets;
  }
  return p;
}

TokenWindows cut_windows(std::span<const int32_t> ids, const Protocol& protocol, int64_t limit, std::optional<int32_t> bos) {
  if (protocol.window < 2 || protocol.stride < 1 || protocol.first_scored < 1 || protocol.first_scored >= protocol.window)
    throw UserError(
        "protocol {}: no target is scored; expected window >= 2, stride >= 1 and 1 <= first_scored < window; "
        "correct the protocol",
        protocol.words());
  if (limit < 0) throw UserError("windows: found {}; expected a number of at least 0 (0 = all of the text); e.g. 16", limit);
  const auto tokens = static_cast<int64_t>(ids.size());
  TokenWindows w;
  w.protocol = protocol;
  w.text_tokens = tokens;
  w.available = tokens < protocol.window ? 0 : (tokens - protocol.window) / protocol.stride + 1;
  if (w.available == 0)
    throw UserError(
        "text: {} tokens; expected at least one window of {}; take a longer text or a shorter window "
        "(--protocol gptq-{})",
        tokens, protocol.window, std::max<int64_t>(4, tokens / 2));
  w.count = limit == 0 ? w.available : std::min(limit, w.available);
  w.ids.reserve(static_cast<size_t>(w.count * protocol.window));
  for (int64_t i = 0; i < w.count; ++i) {
    const auto part = ids.subspan(static_cast<size_t>(i * protocol.stride), static_cast<size_t>(protocol.window));
    const size_t start = w.ids.size();
    w.ids.insert(w.ids.end(), part.begin(), part.end());
    if (protocol.bos == BosMode::kOverwriteFirst && bos) w.ids[start] = *bos;
  }
  Sha256 digest;
  for (int32_t id : ids) {
    const auto u = static_cast<uint32_t>(id);
    const unsigned char bytes[4] = {static_cast<unsigned char>(u), static_cast<unsigned char>(u >> 8),
                                    static_cast<unsigned char>(u >> 16), static_cast<unsigned char>(u >> 24)};
    digest.update(bytes, 4);
  }
  w.tokens_digest = digest.hex();
  return w;
}

TokenWindows make_windows(const Tokenizer& tokenizer, const Text& text, const Protocol& protocol, int64_t limit) {
  // llama.cpp, too, tokenizes with special tokens and overwrites the first of each window afterwards.
  const std::vector<int32_t> ids = tokenizer.encode(join_text(text, protocol.join), true);
  TokenWindows w = cut_windows(ids, protocol, limit, tokenizer.leading_special());
  w.text_name = text.name;
  w.text_digest = text.digest;
  w.text_note = text.note;
  w.tokenizer_digest = tokenizer.digest();
  return w;
}

}  // namespace sage
