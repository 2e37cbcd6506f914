// The stages of a tokenizer.json, each as the `tokenizers` library defines it. Internal to the tokenizer_*.cpp files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/model/tokenizer_regex.h"

namespace sage::tok {

// A step that rewrites a text.
using Normalizer = std::function<std::string(std::string)>;
// A step that cuts (and may rewrite) each of the pieces a text has been cut into. Empty pieces are dropped.
using PreTokenizer = std::function<std::vector<std::string>(std::vector<std::string>)>;
// A step on the list of tokens to be joined to a text.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
Normalizer normalize_form(UnicodeForm form);
Normalizer normalize_lowercase();
Normalizer normalize_strip(bool left, bool right);
Normalizer normalize_replace(Regex pattern, std::string content);
Normalizer normalize_prepend(std::string content);
Normalizer normalize_sequence(std::vector<Normalizer> steps);

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
// invert: what the pattern leaves over counts as the match.
PreTokenizer pre_split(Regex pattern, SplitBehavior behavior, bool invert);
PreTokenizer pre_split_class(bool (*member)(uint32_t), SplitBehavior behavior);
PreTokenizer pre_byte_level(bool add_prefix_space, bool use_regex);
// Spaces become `replacement`, and one is put in front where asked for and not there. split: cut before each.
PreTokenizer pre_metaspace(std::string replacement, bool prepend, bool split);
PreTokenizer pre_sequence(std::vector<PreTokenizer> steps);

Decoder decode_byte_level();
Decoder decode_fuse();
Decoder decode_byte_fallback();  // runs of "<0x0A>" -> text, U+FFFD for each byte of a run that is not UTF-8
Decoder decode_strip(std::string character, size_t start, size_t stop);  // up to so many of it from both ends of each token
Decoder decode_replace(Regex pattern, std::string content);
Decoder decode_sequence(std::vector<Decoder> steps);

struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

// Byte pair encoding of one piece.
struct Bpe {
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  Vocabulary vocabulary;
  std::unordered_map<uint64_t, Merge> merges;  // by pair_key(left id, right id)
  std::optional<int32_t> unknown;
  bool fuse_unknown = false;
  bool byte_fallback =
      false;  // characters outside the vocabulary become their bytes, tokens "<0x0A>", where all of these exist
  bool ignore_merges = false;

  static uint64_t pair_key(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
  }
  void encode(std::string_view piece, std::vector<int32_t>& out) const;
};

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = true;
  bool special = false;
};

// Finds the texts of added tokens: leftmost, then longest.
class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  // key: the text to look for (the content, normalized where the token asks for it).
  void add(std::string key, const AddedToken& token);
  void prepare();
  bool empty() const { return entries_.empty(); }

  struct Part {
    size_t begin = 0;
    size_t end = 0;
    int32_t id = -1;  // -1: ordinary text
  };
  std::vector<Part> cut(std::string_view text) const;

 private:
  struct Entry {
    std::string key;
    AddedToken token;
  };
  const Entry* longest_at(std::string_view text, size_t at) const;
  std::vector<Entry> entries_;  // ascending by key
  bool starts_[256] = {};
};

// Everything a tokenizer.json says, checked.
struct Loaded {
  std::string name;    // for messages
  std::string digest;  // SHA-256 of the file
  Bpe model;
  Normalizer normalizer;       // empty function: none
  PreTokenizer pre_tokenizer;  // empty function: none
  Decoder decoder;             // empty function: tokens are joined by a space, as the library does
  std::vector<AddedToken> added;
  AddedTokenFinder raw;                // tokens looked for in the text as given
  AddedTokenFinder normalized;         // tokens looked for after normalization
  std::vector<int32_t> before, after;  // what the post-processor puts around a text
  std::vector<std::string> tokens;     // by id
  std::vector<bool> used, special;     // by id
};
Loaded load_tokenizer(std::string_view json, const std::string& name);
// A GPT-2 style folder without tokenizer.json. files: contents by file name (vocab.json, merges.txt and what is there of
// kGpt2Files); name: the folder, for messages.
Loaded load_gpt2_tokenizer(const std::map<std::string, std::string>& files, const std::string& name);
inline constexpr const char* kGpt2Files[] = {"vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json",
                                             "tokenizer_config.json"};

// Steps the two have in common.
class Node;
inline constexpr const char* kMergesVersion = "#version";  // begins the first of the merges, which is none
void read_vocabulary(const Node& node, Bpe& bpe);          // {"token": id, ...}
std::pair<std::string, std::string> split_merge(const Node& where, const std::string& line);  // "a b"
void add_merge(const Node& where, const std::string& left, const std::string& right, uint32_t rank, Bpe& bpe);
// t.model is there; fills everything about added tokens and ids. added: null, or a list as in tokenizer.json.
void list_tokens(const Node& added, Loaded& t);

}  // namespace sage::tok
