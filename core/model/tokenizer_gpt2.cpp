// vocab.json + merges.txt, as GPT-2 and OPT are published -> the same parts as from a tokenizer.json, by the rules
// `transformers` converts such folders with: byte-level pre-tokenizer with GPT-2's pattern, BOS in front and EOS behind where
// tokenizer_config.json says add_bos_token and add_eos_token.
#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>


#include "core/model/tokenizer_side_files.h"
#include "core/util/errors.h"
#include "core/util/file_kind.h"
#include "core/util/files.h"

namespace sage::tok {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

void check_class(const SideFiles& side) {
  const std::string name = side.tokenizer_class();
  if (name.empty() || name == "GPT2Tokenizer") return;
  throw ResourceError(
      "{}: tokenizer_class: found \"{}\"; expected GPT2Tokenizer where there is no tokenizer.json; write one with "
      "transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
      file_of(side.config()), name);
}

void read_merges(const std::string& text, const std::string& path, Bpe& bpe) {
  if (!text.empty())
    refuse_other_kind(std::string_view(text).substr(0, 512), text.size(), path, "the merges of a byte-level BPE");
  static const Json kNothing;
  uint32_t rank = 0;
  size_t line_number = 1;
  for (size_t at = text.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0; at < text.size(); ++line_number) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    if (line.ends_with('\r')) line.pop_back();
    if (line_number == 1 && line.starts_with(kMergesVersion)) continue;
    if (line.empty() && at >= text.size()) break;
    const Node where(kNothing, fmt::format("{}: line {}", path, line_number));
    const auto [left, right] = split_merge(where, line);
    add_merge(where, left, right, rank++, bpe);
  }
}

// What stands around a text where there is no tokenizer.json to say it.
std::vector<int32_t> template_ids(const SideFiles& side, const char* setting, const char* key,
                                  const std::optional<std::string>& text, const Loaded& t) {
  if (!side.config().flag(setting, false) || !text) return {};
  const bool named = !side.config().get(key).null() || !side.map().get(key).null();
  if (!named && t.model.vocabulary.count(*text) == 0)
    side.config().get(setting).fail("no token \"" + *text + "\" to put there",
                                    std::string(key) + " to name one of the vocabulary");
  return {t.added.find(*text)->id};
}

}  // namespace

Loaded load_gpt2_tokenizer(const Files& files, const std::string& folder) {
  Loaded t;
  t.name = folder;
  const SideFiles side(files, folder);
  check_class(side);
  {
    const std::string path = folder + "/" + kVocabularyFile;
    const Json vocabulary = parse_json(files.at(kVocabularyFile), path);
    read_vocabulary(Node(vocabulary, path + ":"), t.model);
  }
  read_merges(files.at(kMergesFile), folder + "/" + kMergesFile, t.model);
  const bool prefix = side.config().flag("add_prefix_space", false);
  t.pre_tokenizer = pre_byte_level(prefix, true);
  t.decoder = decode_byte_level();

  const SpecialTexts special =
      side.add_tokens({{"bos_token", kDefaultSpecial}, {"eos_token", kDefaultSpecial}, {"unk_token", kDefaultSpecial}}, t);
  t.before = template_ids(side, "add_bos_token", "bos_token", special.bos, t);
  t.after = template_ids(side, "add_eos_token", "eos_token", special.eos, t);
  finish_tokens(t);
  t.digest =
      sha256_hex(fmt::format("{} {}\n{} {}\nprefix {} split special {} before {} after {}\n{}", kVocabularyFile,
                             sha256_hex(files.at(kVocabularyFile)), kMergesFile, sha256_hex(files.at(kMergesFile)), prefix,
                             t.split_special, fmt::join(t.before, " "), fmt::join(t.after, " "), t.added.signature()));
  return t;
}

}  // namespace sage::tok
