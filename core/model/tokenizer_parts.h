// The stages of a tokenizer.json, each as the `tokenizers` library defines it. Internal to the tokenizer_*.cpp files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "core/model/tokenizer_regex.h"

namespace sage::tok {

// A step that rewrites a text.
using Normalizer = std::function<std::string(std::string)>;
// What a text has been cut into; no piece is empty.
struct Pieces {
  std::vector<std::string> texts;
  bool at_start = false;  // the first of them begins where the whole text begins
};
// A step that cuts (and may rewrite) each of the pieces.
using PreTokenizer = std::function<Pieces(Pieces)>;
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
// Spaces become `replacement`, and one is put in front of every piece (kAlways) or of one that begins the text (kFirst), unless
// it is there. split: cut before each.
enum class PrependScheme { kAlways, kFirst, kNever };
PreTokenizer pre_metaspace(std::string replacement, PrependScheme prepend, bool split);
PreTokenizer pre_sequence(std::vector<PreTokenizer> steps);

Decoder decode_byte_level();
Decoder decode_fuse();
Decoder decode_byte_fallback();  // runs of "<0x0A>" -> text, U+FFFD for each byte of a run that is not UTF-8
Decoder decode_metaspace(std::string replacement, bool prepended);  // its spaces back; prepended: none in front of the first
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
  bool operator==(const AddedToken&) const = default;
};

// Finds the texts of added tokens: leftmost, then longest.
class AddedTokenFinder {
 public:
  AddedTokenFinder() = default;
  // key: the text to look for (the content, normalized where the token asks for it). Of two with one key the first counts.
  // is_text: a match is consumed, but stays text.
  void add(std::string key, const AddedToken& token, bool is_text);
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
    bool is_text = false;
  };
  const Entry* longest_at(std::string_view text, size_t at) const;
  std::vector<Entry> entries_;  // ascending by key
  bool starts_[256] = {};
};

// The tokens beside the model's vocabulary, numbered and kept as the library does it: a text of the vocabulary keeps its id,
// others get the next one behind all; a token given again changes its flags, but stays where it is looked for (before or after
// normalization).
class AddedVocabulary {
 public:
  // One call of the library's add_tokens; ids of the tokens given are not looked at.
  void add(std::span<const AddedToken> tokens, const Vocabulary& model);
  // With the id it has; null: there is none of this text.
  const AddedToken* find(std::string_view content) const;
  bool is_special(const std::string& content) const { return special_texts_.count(content) > 0; }
  const std::map<int32_t, AddedToken>& by_id() const { return by_id_; }
  int32_t next_id(const Vocabulary& model) const;
  // split_special: the texts of special tokens are ordinary text.
  void list(const Normalizer& normalizer, bool split_special, AddedTokenFinder& raw, AddedTokenFinder& normalized) const;
  // Everything that decides ids, as text: for digests.
  std::string signature() const;

 private:
  Vocabulary ids_;
  std::map<int32_t, AddedToken> by_id_;
  std::vector<AddedToken> special_, ordinary_;  // as first given
  std::unordered_set<std::string> special_texts_;
};

// Everything a tokenizer's files say, checked.
struct Loaded {
  std::string name;    // for messages
  std::string digest;  // of all that decides ids; that of tokenizer.json where nothing beside it does
  Bpe model;
  Normalizer normalizer;       // empty function: none
  PreTokenizer pre_tokenizer;  // empty function: none
  Decoder decoder;             // empty function: tokens are joined by a space, as the library does
  AddedVocabulary added;
  bool split_special = false;          // texts of special tokens are ordinary text
  AddedTokenFinder raw;                // tokens looked for in the text as given
  AddedTokenFinder normalized;         // tokens looked for after normalization
  std::vector<int32_t> before, after;  // what the post-processor puts around a text
  std::vector<std::string> tokens;     // by id
  std::vector<bool> used, special;     // by id
  std::vector<std::string> notes;      // what a user should know: settings that are not followed
};

inline constexpr const char* kOwnFile = "tokenizer.json";
inline constexpr const char* kConfigFile = "tokenizer_config.json";
inline constexpr const char* kSpecialMapFile = "special_tokens_map.json";
inline constexpr const char* kAddedTokensFile = "added_tokens.json";
inline constexpr const char* kVocabularyFile = "vocab.json";
inline constexpr const char* kMergesFile = "merges.txt";
using Files = std::map<std::string, std::string>;  // contents by file name

Loaded load_tokenizer(std::string_view json, const std::string& name);
// tokenizer.json and what lies beside it; `folder` stands in messages.
Loaded load_tokenizer(const Files& files, const std::string& folder);
// A GPT-2 style folder without tokenizer.json: vocab.json, merges.txt and what lies beside them.
Loaded load_gpt2_tokenizer(const Files& files, const std::string& folder);

class Node;
// What lies beside a tokenizer.json (root: its content, text: its bytes): more tokens, settings; t.digest covers what they
// change.
void add_side_files(const Files& files, const std::string& folder, const Node& root, const std::string& text, Loaded& t);

// Steps the two have in common.
inline constexpr const char* kMergesVersion = "#version";  // begins the first of the merges, which is none
void read_vocabulary(const Node& node, Bpe& bpe);          // {"token": id, ...}
std::pair<std::string, std::string> split_merge(const Node& where, const std::string& line);  // "a b"
void add_merge(const Node& where, const std::string& left, const std::string& right, uint32_t rank, Bpe& bpe);

// A token that a file gives a number; what the files say has to agree with the numbers that result.
struct NumberedToken {
  AddedToken token;   // with the id given
  std::string where;  // "DIR/added_tokens.json: [\"<x>\"]"
};
AddedToken read_added_token(const Node& node, bool special);  // of an object; special: where it does not say
// Adds the tokens in the order given. ResourceError where one is numbered otherwise than it says.
void add_numbered(std::span<const NumberedToken> tokens, Loaded& t);
// t's vocabularies are complete: fills the finders and everything by id.
void finish_tokens(Loaded& t);

}  // namespace sage::tok
