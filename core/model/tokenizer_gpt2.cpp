// vocab.json + merges.txt, as GPT-2 and OPT are published -> the same parts as from a tokenizer.json, by the rules
// `transformers` converts such folders with: byte-level pre-tokenizer with GPT-2's pattern, special tokens of
// tokenizer_config.json or special_tokens_map.json, BOS in front where tokenizer_config.json says add_bos_token.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/model/tokenizer_node.h"
#include "core/model/tokenizer_parts.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage::tok {

namespace {

using Files = std::map<std::string, std::string>;

constexpr const char* kDefaultSpecial = "<|endoftext|>";
constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
constexpr const char* kFlags[] = {"single_word", "lstrip", "rstrip", "normalized"};

// An optional file of the folder; an empty object where it is absent.
class File {
 public:
  File(const Files& files, const std::string& folder, const char* name) : path_(folder + "/" + name + ":") {
    const auto found = files.find(name);
    json_ = found == files.end() ? Json::object() : parse_json(found->second, folder + "/" + name);
    root().need(root().is_object(), "an object");
  }
  Node root() const { return {json_, path_}; }

 private:
  std::string path_;
  Json json_;
};

// The tokens beside the vocabulary, in the shape of tokenizer.json's added_tokens.
class AddedList {
 public:
  explicit AddedList(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // `token` is a text, or an object with "content" and flags. Without an id it gets that of the vocabulary, or the next free
  // one.
  void add(const Node& token, std::optional<int32_t> id, bool special) {
    const std::string& content = token.is_text() ? token.text() : token.at("content").text();
    if (content.empty()) return;
    if (const auto before = by_content_.find(content); !id && before != by_content_.end()) {
      before->second["special"] = true;  // flags were given with the id; as in `transformers`, these stay
      return;
    }
    Json entry = {{"content", content}, {"normalized", false}};
    if (token.is_object()) {
      for (const char* flag : kFlags)
        entry[flag] = token.flag(flag, false);
      special = token.flag("special", special);
    }
    entry["special"] = special;
    put(content, id, std::move(entry));
  }
  bool has(const std::string& content) const { return by_content_.count(content) > 0; }
  // Ascending ids: tokens outside the vocabulary are numbered without gaps.
  Json list() const {
    std::multimap<int32_t, const Json*> ordered;
    for (const auto& [content, entry] : by_content_)
      ordered.emplace(entry.at("id").get<int32_t>(), &entry);
    Json out = Json::array();
    for (const auto& [id, entry] : ordered)
      out.push_back(*entry);
    return out;
  }

 private:
  void put(const std::string& content, std::optional<int32_t> id, Json entry) {
    const auto known = vocabulary_.find(content);
    if (!id && known != vocabulary_.end()) id = known->second;
    if (!id) id = next_;
    next_ = std::max(next_, *id + 1);
    entry["id"] = static_cast<uint32_t>(*id);
    by_content_[content] = std::move(entry);
  }
  const Vocabulary& vocabulary_;
  std::map<std::string, Json> by_content_;
  int32_t next_ = static_cast<int32_t>(vocabulary_.size());
};

void check_class(const Node& config) {
  const Node name = config.get("tokenizer_class");
  if (name.null() || name.text() == "GPT2Tokenizer" || name.text() == "GPT2TokenizerFast") return;
  throw ResourceError(
      "{}: found \"{}\"; expected GPT2Tokenizer where there is no tokenizer.json; write one with transformers: "
      "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
      name.path(), name.text());
}

void read_merges(const std::string& text, const std::string& path, Bpe& bpe) {
  static const Json kNothing;
  uint32_t rank = 0;
  size_t line_number = 1;
  for (size_t at = 0; at < text.size(); ++line_number) {
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

AddedList read_added_tokens(const Node& config, const Node& map, const Node& added, const Vocabulary& vocabulary) {
  AddedList out(vocabulary);
  const Node decoder = config.get("added_tokens_decoder");  // newer files; it says everything
  const auto number = [](const std::string& key, const Node& where) {
    const Json id = Json::parse(key, nullptr, false);
    return Node(id, where.path()).id();
  };
  if (!decoder.null()) {
    decoder.each([&](const std::string& key, const Node& token) { out.add(token, number(key, token), false); });
  } else {
    added.each([&](const std::string& content, const Node& id) {
      const Json text = content;
      out.add(Node(text, id.path()), id.id(), false);
    });
  }
  for (const char* key : kNamedTokens) {
    const Node own = config.get(key), other = map.get(key);
    const Node& token = own.null() ? other : own;
    if (!token.null()) out.add(token, std::nullopt, true);
  }
  for (const Node& file : {config, map}) {
    const Node more = file.get("additional_special_tokens");
    if (more.null()) continue;
    for (const Node& token : more.items())
      out.add(token, std::nullopt, true);
    break;
  }
  if (const auto known = vocabulary.find(kDefaultSpecial); known != vocabulary.end() && !out.has(kDefaultSpecial)) {
    // GPT-2's own default for the three names, where no file gives them.
    for (const char* key : {"bos_token", "eos_token", "unk_token"}) {
      if (!config.get(key).null() || !map.get(key).null()) continue;
      const Json text = kDefaultSpecial;
      out.add(Node(text, config.path()), known->second, true);
    }
  }
  return out;
}

}  // namespace

Loaded load_gpt2_tokenizer(const Files& files, const std::string& name) {
  Loaded t;
  t.name = name;
  std::string everything;
  for (const char* file : kGpt2Files)
    if (const auto found = files.find(file); found != files.end())
      everything += fmt::format("{} {}\n", file, sha256_hex(found->second));
  t.digest = sha256_hex(everything);

  const File config(files, name, "tokenizer_config.json"), map(files, name, "special_tokens_map.json"),
      added(files, name, "added_tokens.json");
  check_class(config.root());
  {
    const std::string path = name + "/vocab.json";
    const Json vocabulary = parse_json(files.at("vocab.json"), path);
    read_vocabulary(Node(vocabulary, path + ":"), t.model);
  }
  read_merges(files.at("merges.txt"), name + "/merges.txt", t.model);
  t.pre_tokenizer = pre_byte_level(config.root().flag("add_prefix_space", false), true);
  t.decoder = decode_byte_level();

  const AddedList tokens = read_added_tokens(config.root(), map.root(), added.root(), t.model.vocabulary);
  const Json list = tokens.list();
  list_tokens(Node(list, name + ": added tokens"), t);

  if (config.root().flag("add_bos_token", false)) {
    const Node own = config.root().get("bos_token"), other = map.root().get("bos_token");
    const Node& bos = own.null() ? other : own;
    const std::string content = bos.null() ? kDefaultSpecial : bos.is_text() ? bos.text() : bos.at("content").text();
    const auto found = std::find_if(t.added.begin(), t.added.end(), [&](const AddedToken& a) { return a.content == content; });
    if (found == t.added.end())
      config.root().get("add_bos_token").fail("no token \"" + content + "\" to put in front", "it among the tokens");
    t.before = {found->id};
  }
  return t;
}

}  // namespace sage::tok
