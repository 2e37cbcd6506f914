#include "core/calibration/sampler.h"

#include <algorithm>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {

namespace {

constexpr int64_t kMostSamples = int64_t{1} << 20, kLongest = int64_t{1} << 20, kMostTokens = int64_t{1} << 30;

void check(const SampleOptions& o) {
  if (o.samples < 1 || o.samples > kMostSamples)
    throw UserError("calibration: {} samples; expected 1 to {}; e.g. 128", o.samples, kMostSamples);
  if (o.length < 2 || o.length > kLongest)
    throw UserError("calibration: samples of {} tokens; expected 2 to {}; e.g. 2048", o.length, kLongest);
  if (o.samples * o.length > kMostTokens)
    throw UserError("calibration: {} samples of {} tokens; expected at most {} tokens in all; take fewer or shorter samples",
                    o.samples, o.length, kMostTokens);
}

void update_integer(Sha256& sha, uint64_t v) {
  unsigned char bytes[8];
  for (int i = 0; i < 8; ++i)
    bytes[i] = static_cast<unsigned char>(v >> (8 * i));
  sha.update(bytes, sizeof bytes);
}

std::string digest_of(const SampleSet& s) {
  const SampleOptions& o = s.options;
  const std::string words =
      fmt::format("calibration samples 1\ntokenizer {}\ntext {}\nrule {}\njoin {}\nsamples {}\nlength {}\nseed {}\n",
                  s.tokenizer_digest, s.text_digest, sample_rule_name(o.rule),
                  o.rule == SampleRule::kWindows ? text_join_name(o.join) : "-", o.samples, o.length, o.seed);
  Sha256 sha;
  sha.update(words.data(), words.size());
  for (int32_t id : s.ids)
    update_integer(sha, static_cast<uint32_t>(id));
  return sha.hex();
}

}  // namespace

const char* sample_rule_name(SampleRule rule) {
  switch (rule) {
    case SampleRule::kDocuments: return "documents";
    case SampleRule::kDocumentsAtLeast: return "documents_at_least";
    case SampleRule::kWindows: break;
  }
  return "windows";
}

std::vector<SamplePlace> draw_windows(int64_t tokens, const SampleOptions& o, const std::string& text_name) {
  check(o);
  // With fewer places than samples some sequences would be the same for certain.
  if (tokens - o.length < o.samples)
    throw UserError(
        "calibration text {}: {} tokens; expected at least {} for {} samples of {} tokens; take a longer text, or fewer or "
        "shorter samples (calibration.samples, calibration.length_tokens)",
        text_name, tokens, o.length + o.samples, o.samples, o.length);
  if (tokens < o.samples * o.length)
    log_info("calibration text {}: {} tokens for {} samples of {}; the samples overlap", text_name, tokens, o.samples,
             o.length);
  PythonRandom random(o.seed);
  std::vector<SamplePlace> places;
  for (int64_t i = 0; i < o.samples; ++i)
    places.push_back({0, random.randint(0, tokens - o.length - 1)});
  return places;
}

std::vector<SamplePlace> draw_documents(int64_t documents, const std::function<int64_t(int64_t)>& length_of,
                                        const SampleOptions& o, const std::string& text_name) {
  check(o);
  if (documents < 1) throw UserError("calibration text {}: no document; expected at least one; take another text", text_name);
  const int64_t shortest = o.rule == SampleRule::kDocumentsAtLeast ? o.length : o.length + 1;
  std::vector<int64_t> known(static_cast<size_t>(documents), -1);
  int64_t seen = 0, longest = 0;
  const auto length_once = [&](int64_t d) {
    int64_t& length = known[static_cast<size_t>(d)];
    if (length < 0) {
      length = length_of(d);
      ++seen;
      longest = std::max(longest, length);
    }
    return length;
  };
  PythonRandom random(o.seed);
  std::vector<SamplePlace> places;
  for (int64_t i = 0; i < o.samples; ++i) {
    for (int64_t draws = 1;; ++draws) {
      const int64_t document = random.randint(0, documents - 1);
      const int64_t length = length_once(document);
      if (length >= shortest) {
        places.push_back({document, length > o.length ? random.randint(0, length - o.length - 1) : 0});
        break;
      }
      if (draws >= kMaxDraws || (seen == documents && longest < shortest))
        throw UserError(
            "calibration text {}: no document of at least {} tokens among the {} of {} that were drawn, the longest has {}; "
            "expected one for each sample; set calibration.length_tokens below {}, take longer documents, or join them with "
            "calibration.rule: windows",
            text_name, shortest, seen, documents, longest, std::max<int64_t>(longest, 3));
    }
  }
  return places;
}

SampleSet draw_samples(const Tokenizer& tokenizer, const Text& text, const SampleOptions& options) {
  check(options);
  SampleSet s;
  s.options = options;
  s.text_name = text.name;
  s.text_digest = text.digest;
  s.tokenizer_digest = tokenizer.digest();
  s.ids.reserve(static_cast<size_t>(options.samples * options.length));
  const auto take = [&](const std::vector<int32_t>& tokens, int64_t offset) {
    s.ids.insert(s.ids.end(), tokens.begin() + offset, tokens.begin() + offset + options.length);
  };
  if (options.rule == SampleRule::kWindows) {
    const std::vector<int32_t> tokens = tokenizer.encode(join_text(text, options.join), true);
    s.places = draw_windows(static_cast<int64_t>(tokens.size()), options, text.name);
    for (const SamplePlace& p : s.places)
      take(tokens, p.offset);
  } else {
    const auto encode = [&](int64_t d) { return tokenizer.encode(text.documents[static_cast<size_t>(d)], true); };
    s.places = draw_documents(
        static_cast<int64_t>(text.documents.size()), [&](int64_t d) { return static_cast<int64_t>(encode(d).size()); }, options,
        text.name);
    for (const SamplePlace& p : s.places)
      take(encode(p.document), p.offset);
  }
  s.digest = digest_of(s);
  return s;
}

}  // namespace sage
