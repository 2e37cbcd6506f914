// Text -> token ids and back, from a Hugging Face tokenizer.json or the vocab.json and merges.txt of older models, with the
// same ids as the `tokenizers` library gives.
//
// Supported: model BPE (merges as "a b" strings or as pairs, ignore_merges, unk_token, fuse_unk, byte_fallback); pre-tokenizers
// ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, Sequence; normalizers NFC,
// NFD, NFKC, NFKD, Lowercase, Strip, Replace, Prepend, Sequence; added tokens (special, lstrip, rstrip, single_word, normalized);
// post-processors TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence; decoders ByteLevel,
// ByteFallback, Fuse, Metaspace, Replace, Strip, Sequence. Anything else in the file that would change ids is a ResourceError that names it: a tokenizer is never
// read approximately. Where we differ on purpose: `truncation` and `padding` are ignored (whole texts are tokenized), an added
// token whose number contradicts the vocabulary is an error (the library renumbers it with a warning), and text that is not
// UTF-8 is an error.
//
// Cost: a word of n characters is merged with a heap over a linked list, n log n; words met before in the same call are
// remembered. 1.3 MB of English with a vocabulary of 49152 takes 0.12 s on one core.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sage {

class Tokenizer {
 public:
  // The tokenizer of a model's folder: tokenizer.json, otherwise vocab.json with merges.txt (GPT-2, OPT), and the tokens that
  // tokenizer_config.json, special_tokens_map.json and added_tokens.json add, as AutoTokenizer of transformers 5 adds them.
  // tokenizer.json decides how texts are cut and what stands around them; settings beside it that say otherwise are notes(),
  // logged here. ResourceError as from_file; a folder without either; tokens numbered otherwise than they would be; without
  // tokenizer.json, another tokenizer_class than GPT2Tokenizer, whose rules two such files do not tell.
  static Tokenizer from_folder(const std::string& folder);
  // The same from memory: contents by file name.
  static Tokenizer from_texts(const std::map<std::string, std::string>& files, const std::string& name);
  // PATH is a tokenizer.json. ResourceError: absent, larger than 64 MiB, not JSON, nested deeper than 32, wrong types, ids
  // duplicate or out of range, merges of unknown tokens, unsupported parts.
  static Tokenizer from_file(const std::string& path);
  // The same from memory; `name` stands in error messages.
  static Tokenizer from_json(std::string_view json, const std::string& name);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Texts of added tokens inside `utf8` become those tokens, as the library does by default. add_special_tokens: what the
  // post-processor's template puts around the text (BOS, ...). Thread-safe. ResourceError: text not UTF-8, or a pattern of the
  // file that exceeds PCRE2's match limit on it.
  std::vector<int32_t> encode(std::string_view utf8, bool add_special_tokens) const;
  // Bytes that are not UTF-8 become U+FFFD. UserError: an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, bool skip_special_tokens = false) const;

  // Largest id + 1, added tokens included: the smallest embedding that fits.
  int64_t vocabulary_size() const;
  // SHA-256 of what decides ids: of tokenizer.json, where the files beside it change nothing; otherwise also of the tokens and
  // settings that they add. Chat templates, lengths and the like are not in it.
  const std::string& digest() const;
  // Settings of the folder that are not followed, a sentence each.
  const std::vector<std::string>& notes() const;
  std::optional<int32_t> id_of(std::string_view token) const;
  // The token as the file spells it ("Ġthe"); nothing for an unused id.
  std::optional<std::string> token_of(int32_t id) const;
  // What encode("", true) puts first, i.e. the BOS id, if the file's template has one before the text.
  std::optional<int32_t> leading_special() const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace sage
