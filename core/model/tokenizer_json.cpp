// tokenizer.json -> checked parts. Every message names the place in the file ("pre_tokenizer.pretokenizers[0].pattern").
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/model/tokenizer_node.h"
#include "core/model/tokenizer_parts.h"
#include "core/model/tokenizer_unicode.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage::tok {

namespace {

constexpr size_t kMaxAddedBytes = 16 << 20;

Regex read_pattern(const Node& node) {
  const Node regex = node.get("Regex");
  if (!regex.null()) return Regex::pattern(regex.text(), regex.path());
  const Node literal = node.get("String");
  if (!literal.null()) return Regex::literal(literal.text(), literal.path());
  node.fail("neither \"Regex\" nor \"String\"", "one of them");
}

Normalizer read_normalizer(const Node& node) {
  static const char* kSupported = "NFC, NFD, NFKC, NFKD, Lowercase, Strip, Replace, Prepend, Sequence";
  const std::string& type = node.at("type").text();
  if (type == "NFC") return normalize_form(UnicodeForm::kNfc);
  if (type == "NFD") return normalize_form(UnicodeForm::kNfd);
  if (type == "NFKC") return normalize_form(UnicodeForm::kNfkc);
  if (type == "NFKD") return normalize_form(UnicodeForm::kNfkd);
  if (type == "Lowercase") return normalize_lowercase();
  if (type == "Strip") return normalize_strip(node.flag("strip_left", true), node.flag("strip_right", true));
  if (type == "Replace") return normalize_replace(read_pattern(node.at("pattern")), node.at("content").text());
  if (type == "Prepend") return normalize_prepend(node.at("prepend").text());
  if (type == "Sequence") {
    std::vector<Normalizer> steps;
    for (const Node& step : node.at("normalizers").items())
      steps.push_back(read_normalizer(step));
    return normalize_sequence(std::move(steps));
  }
  node.unsupported(type, kSupported);
}

SplitBehavior read_behavior(const Node& node) {
  const std::string& name = node.text();
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  node.fail("found \"" + name + "\"", "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

std::string read_replacement(const Node& node) {
  const std::string& text = node.at("replacement").text();
  size_t at = 0;
  if (!text.empty()) next_code_point(text, at);
  if (text.empty() || at != text.size()) node.at("replacement").fail("found \"" + text.substr(0, 40) + "\"", "one character");
  return text;
}

PrependScheme read_prepend_scheme(const Node& node) {
  const Node scheme = node.get("prepend_scheme"), older = node.get("add_prefix_space");
  if (!scheme.null() && !older.null() && !older.boolean() && scheme.text() != "never")
    scheme.fail("found \"" + scheme.text() + "\" with add_prefix_space false", "\"never\", or no add_prefix_space");
  if (scheme.null()) return older.null() || older.boolean() ? PrependScheme::kAlways : PrependScheme::kNever;
  if (scheme.text() == "always") return PrependScheme::kAlways;
  if (scheme.text() == "first") return PrependScheme::kFirst;
  if (scheme.text() == "never") return PrependScheme::kNever;
  scheme.fail("found \"" + scheme.text() + "\"", "\"always\", \"first\" or \"never\"");
}

PreTokenizer read_pre_tokenizer(const Node& node) {
  static const char* kSupported =
      "ByteLevel, Metaspace, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, Sequence";
  const std::string& type = node.at("type").text();
  if (type == "ByteLevel") return pre_byte_level(node.at("add_prefix_space").boolean(), node.flag("use_regex", true));
  if (type == "Metaspace") {
    return pre_metaspace(read_replacement(node), read_prepend_scheme(node), node.flag("split", true));
  }
  if (type == "Split")
    return pre_split(read_pattern(node.at("pattern")), read_behavior(node.at("behavior")), node.flag("invert", false));
  if (type == "Digits") {
    const bool single = node.at("individual_digits").boolean();
    return pre_split_class(is_numeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const Node behavior = node.get("behavior");
    return pre_split_class(is_punctuation, behavior.null() ? SplitBehavior::kIsolated : read_behavior(behavior));
  }
  if (type == "Whitespace") return pre_split(Regex::pattern("\\w+|[^\\w\\s]+", node.path()), SplitBehavior::kRemoved, true);
  if (type == "WhitespaceSplit") return pre_split_class(is_white_space, SplitBehavior::kRemoved);
  if (type == "CharDelimiterSplit")
    return pre_split(Regex::literal(node.at("delimiter").text(), node.path()), SplitBehavior::kRemoved, false);
  if (type == "Sequence") {
    std::vector<PreTokenizer> steps;
    for (const Node& step : node.at("pretokenizers").items())
      steps.push_back(read_pre_tokenizer(step));
    return pre_sequence(std::move(steps));
  }
  node.unsupported(type, kSupported);
}

Decoder read_decoder(const Node& node) {
  static const char* kSupported = "ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip, Sequence";
  const std::string& type = node.at("type").text();
  if (type == "ByteLevel") return decode_byte_level();
  if (type == "ByteFallback") return decode_byte_fallback();
  if (type == "Fuse") return decode_fuse();
  if (type == "Metaspace") return decode_metaspace(read_replacement(node), read_prepend_scheme(node) != PrependScheme::kNever);
  if (type == "Strip") {
    const std::string& character = node.at("content").text();
    if (character.empty()) node.fail("nothing to strip", "one character");
    return decode_strip(character, static_cast<size_t>(node.at("start").id()), static_cast<size_t>(node.at("stop").id()));
  }
  if (type == "Replace") return decode_replace(read_pattern(node.at("pattern")), node.at("content").text());
  if (type == "Sequence") {
    std::vector<Decoder> steps;
    for (const Node& step : node.at("decoders").items())
      steps.push_back(read_decoder(step));
    return decode_sequence(std::move(steps));
  }
  node.unsupported(type, kSupported);
}

// "a b" or ["a", "b"].
std::pair<std::string, std::string> read_merge(const Node& node) {
  if (!node.is_list()) return split_merge(node, node.text());
  if (node.size() != 2) node.fail(fmt::format("found a list of {}", node.size()), "two tokens");
  return {node.at(size_t{0}).text(), node.at(size_t{1}).text()};
}

Bpe read_model(const Node& node) {
  const Node type = node.get("type");  // absent from the oldest files, which are all BPE
  if (!type.null() && type.text() != "BPE") node.unsupported(type.text(), "BPE");
  if (type.null() && !node.get("merges").is_list()) node.fail("no \"type\" and no \"merges\"", "a BPE model");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Node affix = node.get(key);
    if (!affix.null() && !affix.text().empty()) affix.fail("found \"" + affix.text() + "\"", "none, as in byte-level files");
  }
  const Node dropout = node.get("dropout");
  if (!dropout.null()) {
    dropout.need(dropout.json().is_number(), "a number or null");
    if (dropout.json().get<double>() != 0) dropout.fail("found " + dropout.json().dump(), "0 or null: ids must not be random");
  }

  Bpe bpe;
  read_vocabulary(node.at("vocab"), bpe);
  const Node unknown = node.get("unk_token");
  if (!unknown.null()) {
    const auto found = bpe.vocabulary.find(unknown.text());
    if (found != bpe.vocabulary.end())
      bpe.unknown = found->second;
    else
      unknown.fail("\"" + unknown.text() + "\" is not in the vocabulary", "a token of it, or null");
  }
  bpe.fuse_unknown = node.flag("fuse_unk", false);
  bpe.byte_fallback = node.flag("byte_fallback", false);
  bpe.ignore_merges = node.flag("ignore_merges", false);

  const Node merges = node.at("merges");
  bpe.merges.reserve(merges.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < merges.size(); ++i) {
    const Node merge = merges.at(i);
    if (merge.is_text() && merge.text().starts_with(kMergesVersion)) continue;
    const auto [left, right] = read_merge(merge);
    add_merge(merge, left, right, rank++, bpe);
  }
  return bpe;
}

std::vector<NumberedToken> read_added(const Node& list) {
  std::vector<NumberedToken> out;
  if (list.null()) return out;
  for (const Node& node : list.items()) {
    AddedToken token = read_added_token(node, false);
    token.id = node.at("id").id();
    out.push_back({std::move(token), node.path()});
  }
  return out;
}

// Metaspace puts its mark in front of what begins the text as given, which is not looked at any more once a normalizer has put
// something in front of it, taken something away, or replaced it: in the library a text that begins with a match gets no mark.
bool moves_the_start(const Node& normalizer) {
  const std::string& type = normalizer.at("type").text();
  if (type == "Strip") return normalizer.flag("strip_left", true);
  if (type == "Prepend" || type == "Replace") return true;
  if (type != "Sequence") return false;
  const std::vector<Node> steps = normalizer.at("normalizers").items();
  return std::any_of(steps.begin(), steps.end(), moves_the_start);
}
void check_first(const Node& pre_tokenizer, const Node& normalizer) {
  const std::string& type = pre_tokenizer.at("type").text();
  if (type == "Sequence") {
    for (const Node& step : pre_tokenizer.at("pretokenizers").items())
      check_first(step, normalizer);
  } else if (type == "Metaspace" && read_prepend_scheme(pre_tokenizer) == PrependScheme::kFirst &&
             moves_the_start(normalizer)) {
    pre_tokenizer.at("prepend_scheme")
        .fail("found \"first\" behind a normalizer that changes how a text begins",
              "\"always\" or \"never\", or a normalizer without Prepend, Strip and Replace");
  }
}

// What a post-processor puts around one text.
struct Template {
  std::vector<int32_t> before, after;
};

void read_template(const Node& node, Template& out) {
  const Node single = node.at("single");
  const Node specials = node.get("special_tokens");
  Template fresh;
  bool text_seen = false;
  for (const Node& piece : single.items()) {
    const Node sequence = piece.get("Sequence");
    if (!sequence.null()) {
      if (sequence.at("id").text() != "A" || text_seen) sequence.fail("not the one sequence A", "\"A\", once");
      text_seen = true;
      continue;
    }
    const Node special = piece.at("SpecialToken");
    const std::string& name = special.at("id").text();
    if (specials.null()) special.fail("names \"" + name + "\", but there are no \"special_tokens\"", "them to be there");
    const Node entry = specials.at(name.c_str());
    for (const Node& id : entry.at("ids").items())
      (text_seen ? fresh.after : fresh.before).push_back(id.id());
  }
  if (!text_seen) single.fail("no sequence A", "it to be there, once");
  // A later template wraps what the earlier one made.
  out.before.insert(out.before.begin(), fresh.before.begin(), fresh.before.end());
  out.after.insert(out.after.end(), fresh.after.begin(), fresh.after.end());
}

void read_post_processor(const Node& node, Template& out) {
  static const char* kSupported = "TemplateProcessing, RobertaProcessing, BertProcessing, ByteLevel, Sequence";
  const std::string& type = node.at("type").text();
  if (type == "ByteLevel") return;  // it only moves offsets
  if (type == "TemplateProcessing") return read_template(node, out);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    const auto id = [&](const char* key) {
      const Node pair = node.at(key);
      if (pair.size() != 2) pair.fail(fmt::format("found a list of {}", pair.size()), "[token, id]");
      return pair.at(size_t{1}).id();
    };
    out.before.insert(out.before.begin(), id("cls"));
    out.after.push_back(id("sep"));
    return;
  }
  if (type == "Sequence") {
    for (const Node& step : node.at("processors").items())
      read_post_processor(step, out);
    return;
  }
  node.unsupported(type, kSupported);
}

}  // namespace

void read_vocabulary(const Node& node, Bpe& bpe) {
  std::unordered_map<int32_t, std::string> owners;
  node.each([&](const std::string& token, const Node& value) {
    const int32_t id = value.id();
    const auto [owner, fresh] = owners.emplace(id, token);
    if (!fresh)
      node.fail(fmt::format("tokens \"{}\" and \"{}\" both have id {}", owner->second, token, id), "one token per id");
    bpe.vocabulary.emplace(token, id);
  });
}

std::pair<std::string, std::string> split_merge(const Node& where, const std::string& line) {
  const size_t space = line.find(' ');
  if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
    where.fail("found \"" + line.substr(0, 160) + "\"", "two tokens with one space between them");
  return {line.substr(0, space), line.substr(space + 1)};
}

void add_merge(const Node& where, const std::string& left, const std::string& right, uint32_t rank, Bpe& bpe) {
  const auto id_of = [&](const std::string& token) {
    const auto found = bpe.vocabulary.find(token);
    if (found == bpe.vocabulary.end())
      where.fail("names the token \"" + token.substr(0, 80) + "\", which is not in the vocabulary", "tokens of the vocabulary");
    return found->second;
  };
  // A pair given twice: the last counts, as in the library.
  bpe.merges[Bpe::pair_key(id_of(left), id_of(right))] = {rank, id_of(left + right)};
}

AddedToken read_added_token(const Node& node, bool special) {
  AddedToken token;
  token.content = node.at("content").text();
  token.special = node.flag("special", special);
  token.single_word = node.flag("single_word", false);
  token.lstrip = node.flag("lstrip", false);
  token.rstrip = node.flag("rstrip", false);
  token.normalized = node.flag("normalized", !token.special);
  return token;
}

void add_numbered(std::span<const NumberedToken> tokens, Loaded& t) {
  size_t bytes = 0;
  for (const NumberedToken& given : tokens) {
    if (given.token.content.empty()) continue;  // the library ignores them
    bytes += given.token.content.size();
    if (bytes > kMaxAddedBytes)
      throw ResourceError("{}: more than {} bytes of added tokens; expected fewer; get the file anew", t.name, kMaxAddedBytes);
    t.added.add({&given.token, 1}, t.model.vocabulary);
    const int32_t id = t.added.find(given.token.content)->id;
    if (id == given.token.id) continue;
    const bool known = t.model.vocabulary.count(given.token.content) > 0;
    throw ResourceError("{}: token \"{}\" has id {}; expected {}, {}; get the file anew or correct it", given.where,
                        given.token.content.substr(0, 80), given.token.id, id,
                        known ? "its id in the vocabulary" : "the next free id (added tokens are numbered without gaps)");
  }
}

void finish_tokens(Loaded& t) {
  int32_t last = t.added.by_id().empty() ? -1 : t.added.by_id().rbegin()->first;
  for (const auto& [token, id] : t.model.vocabulary)
    last = std::max(last, id);
  if (last < 0) throw ResourceError("{}: an empty vocabulary; expected at least one token; get the file anew", t.name);
  const auto size = static_cast<size_t>(last) + 1;
  t.tokens.resize(size);
  t.used.assign(size, false);
  t.special.assign(size, false);
  for (const auto& [token, id] : t.model.vocabulary) {
    t.tokens[static_cast<size_t>(id)] = token;
    t.used[static_cast<size_t>(id)] = true;
  }
  for (const auto& [number, token] : t.added.by_id()) {
    const auto id = static_cast<size_t>(number);
    if (t.used[id] && t.tokens[id] != token.content)
      throw ResourceError(
          "{}: token \"{}\" has id {}, which is \"{}\" in the vocabulary; expected an id of its own; get the files "
          "anew",
          t.name, token.content.substr(0, 80), id, t.tokens[id].substr(0, 80));
    t.tokens[id] = token.content;
    t.used[id] = true;
    t.special[id] = t.added.is_special(token.content);
  }
  t.added.list(t.normalizer, t.split_special, t.raw, t.normalized);
}

namespace {

// All that tokenizer.json says but the lists by id, which what lies beside it may change.
Loaded read_own_file(std::string_view text, const std::string& name, const Node& root) {
  root.need(root.is_object(), "an object");
  Loaded t;
  t.name = name;
  t.digest = sha256_hex(text);
  t.model = read_model(root.at("model"));
  const Node normalizer = root.get("normalizer"), pre_tokenizer = root.get("pre_tokenizer");
  if (!normalizer.null()) t.normalizer = read_normalizer(normalizer);
  if (!pre_tokenizer.null()) t.pre_tokenizer = read_pre_tokenizer(pre_tokenizer);
  if (!pre_tokenizer.null() && !normalizer.null()) check_first(pre_tokenizer, normalizer);
  if (const Node n = root.get("decoder"); !n.null()) t.decoder = read_decoder(n);
  add_numbered(read_added(root.get("added_tokens")), t);
  if (const Node post = root.get("post_processor"); !post.null()) {
    Template around;
    read_post_processor(post, around);
    t.before = std::move(around.before);
    t.after = std::move(around.after);
  }
  return t;
}

void check_template(const Node& root, const Loaded& t) {
  for (const auto* ids : {&t.before, &t.after}) {
    for (const int32_t id : *ids) {
      if (static_cast<size_t>(id) >= t.tokens.size() || !t.used[static_cast<size_t>(id)])
        root.get("post_processor")
            .fail(fmt::format("adds token id {}", id), fmt::format("an id of the vocabulary (0 to {})", t.tokens.size() - 1));
    }
  }
}

}  // namespace

Loaded load_tokenizer(std::string_view text, const std::string& name) {
  const Json json = parse_json(text, name);
  const Node root(json, name + ":");
  Loaded t = read_own_file(text, name, root);
  finish_tokens(t);
  check_template(root, t);
  return t;
}

Loaded load_tokenizer(const Files& files, const std::string& folder) {
  const std::string name = folder + "/" + kOwnFile;
  const std::string& text = files.at(kOwnFile);
  const Json json = parse_json(text, name);
  const Node root(json, name + ":");
  Loaded t = read_own_file(text, name, root);
  add_side_files(files, folder, root, text, t);
  finish_tokens(t);
  check_template(root, t);
  return t;
}

}  // namespace sage::tok
