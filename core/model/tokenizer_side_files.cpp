// tokenizer_config.json, special_tokens_map.json and added_tokens.json, by the rules of transformers 5 (its AutoTokenizer):
//
// Tokens. Numbered ones come from added_tokens_decoder of tokenizer_config.json; where that is absent, from added_tokens.json, and
// then special_tokens_map.json takes precedence over tokenizer_config.json. All names of special tokens, and the extra ones, are
// added behind them, as far as they are not there.
//
// Settings. tokenizer.json, where there is one, says how texts are cut and what is put around them: add_bos_token and
// add_eos_token do nothing then, and add_prefix_space only in the classes that build their own rule for cutting. Those classes are
// not imitated; where they would cut otherwise, a note (or a refusal) says so.
#include "core/model/tokenizer_side_files.h"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>


#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage::tok {

namespace {

constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};

bool is_named(const std::string& key) {
  return std::find(std::begin(kNamedTokens), std::end(kNamedTokens), key) != std::end(kNamedTokens);
}

Json parse_optional(const Files& files, const std::string& folder, const char* name) {
  const auto found = files.find(name);
  return found == files.end() ? Json::object() : parse_json(found->second, folder + "/" + name);
}

// A text, or an object with "content" and flags.
AddedToken read_token(const Node& node, bool special) {
  if (!node.is_text()) return read_added_token(node, special);
  AddedToken token;
  token.content = node.text();
  token.special = special;
  token.normalized = !special;
  return token;
}

std::string class_of(const Node& config) {
  const Node name = config.get("tokenizer_class");
  if (name.null()) return "";
  const std::string& text = name.text();
  return text.ends_with("Fast") && text != "PreTrainedTokenizerFast" ? text.substr(0, text.size() - 4) : text;
}

// What is looked for by name, in the order the library adds it.
class NamedTokens {
 public:
  // by_name: values that a class gives where no file does.
  NamedTokens(const Node& config, const Node& map, bool with_map, const NamedDefaults& by_name) {
    for (const char* key : kNamedTokens) {
      const Node own = config.get(key), other = map.get(key);
      if (with_map && !other.null()) {
        AddedToken token = read_token(other, true);
        if (!token.special && other.get("normalized").null()) token.normalized = false;
        token.special = true;
        set(key, std::move(token), true);
      } else if (!own.null()) {
        set(key, read_token(own, own.is_text()), own.is_text());
      } else if (const auto given = by_name.find(key); given != by_name.end() && (!config.json().contains(key))) {
        AddedToken token;
        token.content = given->second;
        token.special = true;
        token.normalized = false;
        set(key, token, true);
      }
    }
    if (with_map) read_others(map);
    read_others(config);
    read_extra(config, map, with_map);
  }

  const std::vector<AddedToken>& named() const { return named_; }
  const std::vector<AddedToken>& extra() const { return extra_; }
  // Whether added_tokens.json's token of this text is special. Names that stand as objects in tokenizer_config.json, or under
  // the older name of the extra ones in special_tokens_map.json, are not seen at that moment.
  bool makes_special(const std::string& content) const { return seen_.count(content) > 0; }
  bool is_named_text(const std::string& content) const {
    return std::any_of(named_.begin(), named_.end(), [&](const AddedToken& t) { return t.content == content; });
  }
  std::optional<std::string> text_of(const char* key) const {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? std::nullopt : std::optional(found->second);
  }
  // Texts whose order among each other no file tells.
  const std::vector<std::string>& unordered() const { return unordered_; }

 private:
  void set(const std::string& key, AddedToken token, bool seen) {
    if (token.content.empty()) return;
    by_key_[key] = token.content;
    if (seen) seen_.insert(token.content);
    named_.push_back(std::move(token));
  }
  // "image_token": "<image>" and the like, and lists of names.
  void read_others(const Node& file) {
    file.each([&](const std::string& key, const Node& value) {
      if (key.ends_with("_token") && !is_named(key) && value.is_text()) add_other(value);
      if ((key == "extra_special_tokens" || key == "model_specific_special_tokens") && value.is_object())
        value.each([&](const std::string&, const Node& token) { add_other(token); });
    });
  }
  void add_other(const Node& value) {
    AddedToken token = read_token(value, true);
    if (token.content.empty() || is_named_text(token.content)) return;
    unordered_.push_back(token.content);
    named_.push_back(std::move(token));
  }
  void read_extra(const Node& config, const Node& map, bool with_map) {
    const auto take = [&](const Node& list, bool texts_seen, bool objects_seen) {
      if (list.null() || list.is_object()) return false;
      for (const Node& node : list.items()) {
        AddedToken token = read_token(node, node.is_text());
        if (node.is_text() ? texts_seen : objects_seen) seen_.insert(token.content);
        const auto same = [&](const AddedToken& t) { return t.content == token.content; };
        if (std::none_of(extra_.begin(), extra_.end(), same)) extra_.push_back(std::move(token));
      }
      return true;
    };
    const bool own =
        take(config.get("extra_special_tokens"), true, false) || take(config.get("additional_special_tokens"), true, false);
    if (!with_map) return;
    const bool more = take(map.get("extra_special_tokens"), true, true);
    if (!own && !more) take(map.get("additional_special_tokens"), false, false);
  }

  std::vector<AddedToken> named_, extra_;
  std::map<std::string, std::string> by_key_;
  std::unordered_set<std::string> seen_;
  std::vector<std::string> unordered_;
};

int32_t number_of(const std::string& key, const Node& where) {
  const Json id = Json::parse(key, nullptr, false);
  return Node(id, where.path()).id();
}

std::vector<NumberedToken> read_decoder(const Node& decoder) {
  std::vector<NumberedToken> out;
  decoder.each([&](const std::string& key, const Node& node) {
    NumberedToken token{read_added_token(node, false), node.path()};
    token.token.id = number_of(key, node);
    out.push_back(std::move(token));
  });
  return out;
}

std::vector<NumberedToken> read_added_tokens_file(const Node& added) {
  std::vector<NumberedToken> out;
  added.each([&](const std::string& content, const Node& id) {
    AddedToken token;
    token.id = id.id();
    token.content = content;
    out.push_back({std::move(token), id.path()});
  });
  return out;
}

// A token that the files number, but that nothing reads.
void note_unread(const Node& added, const Loaded& t, std::vector<std::string>& notes) {
  std::string unread;
  added.each([&](const std::string& content, const Node&) {
    if (t.added.find(content) != nullptr || t.model.vocabulary.count(content) > 0) return;
    if (unread.size() < 200) unread += fmt::format("{}\"{}\"", unread.empty() ? "" : ", ", content.substr(0, 40));
  });
  if (unread.empty()) return;
  notes.push_back(fmt::format(
      "{}: {}: ordinary text, as in transformers, which takes added_tokens_decoder of {} instead; to have them, give them "
      "there, too",
      file_of(added), unread, kConfigFile));
}

}  // namespace

std::string file_of(const Node& root) { return root.path().substr(0, root.path().size() - 1); }

SideFiles::SideFiles(const Files& files, const std::string& folder)
    : folder_(folder),
      config_(std::make_unique<Json>(parse_optional(files, folder, kConfigFile))),
      map_(std::make_unique<Json>(parse_optional(files, folder, kSpecialMapFile))),
      added_(std::make_unique<Json>(parse_optional(files, folder, kAddedTokensFile))) {
  for (const Node& file : {config(), map(), added()})
    file.need(file.is_object(), "an object");
  for (const char* key : {"add_bos_token", "add_eos_token", "split_special_tokens"})
    config().flag(key, false);
  if (const Node prefix = config().get("add_prefix_space"); !prefix.null()) prefix.boolean();
}
SideFiles::~SideFiles() = default;

Node SideFiles::node(const Json& json, const char* name) const { return {json, folder_ + "/" + name + ":"}; }
Node SideFiles::config() const { return node(*config_, kConfigFile); }
Node SideFiles::map() const { return node(*map_, kSpecialMapFile); }
Node SideFiles::added() const { return node(*added_, kAddedTokensFile); }
std::string SideFiles::tokenizer_class() const { return class_of(config()); }

SpecialTexts SideFiles::add_tokens(const NamedDefaults& by_name, Loaded& t) const {
  const Node decoder = config().get("added_tokens_decoder");
  const NamedTokens names(config(), map(), decoder.null(), by_name);
  std::vector<NumberedToken> numbered = decoder.null() ? read_added_tokens_file(added()) : read_decoder(decoder);
  std::stable_sort(numbered.begin(), numbered.end(),
                   [](const NumberedToken& a, const NumberedToken& b) { return a.token.id < b.token.id; });
  for (NumberedToken& given : numbered) {
    if (decoder.null() && names.makes_special(given.token.content)) {
      given.token.special = true;
      given.token.normalized = false;
    }
    // In place of an own token: what stands in tokenizer.json counts.
    if (const auto own = t.added.by_id().find(given.token.id);
        decoder.null() && own != t.added.by_id().end() && own->second.content == given.token.content)
      given.token = own->second;
    const AddedToken* own = t.added.find(given.token.content);
    const bool same = own != nullptr && *own == given.token;
    if (!same && names.is_named_text(given.token.content)) given.token.special = true;
  }
  add_numbered(numbered, t);

  std::vector<AddedToken> rest;
  size_t without_order = 0;
  for (const auto* list : {&names.named(), &names.extra()}) {
    for (AddedToken token : *list) {
      if (t.added.find(token.content) != nullptr) continue;
      if (list == &names.named()) token.special = true;
      const auto& loose = names.unordered();
      if (list == &names.named() && std::find(loose.begin(), loose.end(), token.content) != loose.end() &&
          t.model.vocabulary.count(token.content) == 0)
        ++without_order;
      rest.push_back(std::move(token));
    }
  }
  if (without_order > 1)
    throw ResourceError(
        "{}: {} special tokens without a number ({}, ...); expected added_tokens_decoder to number them, since their order is "
        "not kept everywhere; write the folder anew with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
        folder_, without_order, names.unordered().front().substr(0, 80));
  t.added.add(rest, t.model.vocabulary);
  if (!decoder.null()) note_unread(added(), t, t.notes);
  t.split_special = config().flag("split_special_tokens", false);
  return {names.text_of("bos_token"), names.text_of("eos_token")};
}

namespace {

// Whether tokenizer.json puts a space in front of a text.
bool puts_prefix(const Node& part) {
  if (part.null()) return false;
  const std::string& type = part.at("type").text();
  if (type == "ByteLevel") return part.flag("add_prefix_space", true);
  if (type == "Prepend") return true;
  if (type == "Metaspace") {
    const Node scheme = part.get("prepend_scheme");
    return scheme.null() ? part.flag("add_prefix_space", true) : scheme.text() != "never";
  }
  if (type != "Sequence") return false;
  const Node pre = part.get("pretokenizers");
  const std::vector<Node> steps = (pre.null() ? part.at("normalizers") : pre).items();
  return std::any_of(steps.begin(), steps.end(), puts_prefix);
}

// The rule by which a class of transformers 5 cuts texts, whatever the pre_tokenizer and normalizer of tokenizer.json are;
// null: it has none of its own.
Json own_rule(const std::string& name, const Node& config, const std::string& own_text) {
  const Node prefix = config.get("add_prefix_space");
  if (name == "GPT2Tokenizer") return {{"type", "ByteLevel"}, {"add_prefix_space", !prefix.null() && prefix.boolean()}};
  // With a byte-level file this class is passed over there.
  if (name == "LlamaTokenizer" && own_text.find("\"ByteLevel\"") == std::string::npos) {
    const bool wanted = prefix.null() || prefix.boolean();
    return {{"type", "Metaspace"},
            {"prepend_scheme", !wanted                        ? "never"
                               : config.flag("legacy", false) ? "always"
                                                              : "first"},
            {"split", false}};
  }
  return {};
}

bool same_rule(const Json& rule, const Node& root) {
  const Node pre = root.get("pre_tokenizer");
  if (!root.get("normalizer").null() || pre.null()) return false;
  for (const auto& [key, value] : rule.items())
    if (!pre.json().contains(key) || pre.json().at(key) != value) return false;
  return pre.flag("use_regex", true);
}

std::string cut_by(const Node& root) {
  std::string out;
  for (const char* key : {"normalizer", "pre_tokenizer"})
    if (const Node part = root.get(key); !part.null())
      out += fmt::format("{}{} {}", out.empty() ? "" : ", ", key, part.at("type").text());
  return out.empty() ? "no rule" : out;
}

void check_cutting(const SideFiles& side, const Node& root, const std::string& own_text, Loaded& t) {
  const Node config = side.config(), prefix = config.get("add_prefix_space");
  const Json rule = own_rule(side.tokenizer_class(), config, own_text);
  if (!rule.is_null() && same_rule(rule, root)) return;
  const bool found = puts_prefix(root.get("pre_tokenizer")) || puts_prefix(root.get("normalizer"));
  if (!prefix.null() && prefix.boolean() != found) {
    if (!rule.is_null())
      throw ResourceError(
          "{}: add_prefix_space: found {}; expected {}, as {} cuts texts; with tokenizer_class \"{}\" transformers "
          "would follow the one, other tools the other: make the two agree",
          file_of(config), prefix.boolean(), found, kOwnFile, side.tokenizer_class());
    t.notes.push_back(fmt::format("{}: add_prefix_space {}: not followed, as in transformers 5: {} says {}", file_of(config),
                                  prefix.boolean(), kOwnFile, found));
  }
  if (rule.is_null()) return;
  t.notes.push_back(fmt::format(
      "{}: tokenizer_class \"{}\": {} is followed ({}), as the tokenizers library does; transformers 5 would cut texts by "
      "{} alone, so that ids can differ",
      file_of(config), side.tokenizer_class(), kOwnFile, cut_by(root), rule.dump()));
}

// The template of tokenizer.json counts in transformers 5, these settings did in transformers 4.
void note_template(const Node& config, const Loaded& t, std::vector<std::string>& notes) {
  for (const auto& [key, ids] : {std::pair{"add_bos_token", &t.before}, {"add_eos_token", &t.after}}) {
    const Node given = config.get(key);
    if (given.null() || given.boolean() == !ids->empty()) continue;
    notes.push_back(fmt::format("{}: {} {}: not followed, as in transformers 5: the template of {} puts {} {} a text",
                                file_of(config), key, given.boolean(), kOwnFile, ids->empty() ? "nothing" : "a token",
                                ids == &t.before ? "in front of" : "behind"));
  }
}

void check_other_file(const Node& config) {
  const Node others = config.get("fast_tokenizer_files");
  if (others.null()) return;
  for (const Node& file : others.items())
    if (file.text() != kOwnFile)
      file.fail("found \"" + file.text().substr(0, 80) + "\" beside tokenizer.json",
                "tokenizer.json alone, which all versions read");
}

}  // namespace

void add_side_files(const Files& files, const std::string& folder, const Node& root, const std::string& text, Loaded& t) {
  const SideFiles side(files, folder);
  const std::string before = t.added.signature();
  check_other_file(side.config());
  check_cutting(side, root, text, t);
  note_template(side.config(), t, t.notes);
  const NamedDefaults llama = {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
  const NamedDefaults gpt2 = {{"bos_token", kDefaultSpecial}, {"eos_token", kDefaultSpecial}, {"unk_token", kDefaultSpecial}};
  const std::string name = side.tokenizer_class();
  const bool builds = !own_rule(name, side.config(), text).is_null();
  side.add_tokens(!builds ? NamedDefaults{} : name == "LlamaTokenizer" ? llama : gpt2, t);
  const std::string after = t.added.signature();
  if (after != before || t.split_special)
    t.digest = sha256_hex(fmt::format("{} {}\nsplit special {}\n{}", kOwnFile, t.digest, t.split_special, after));
}

}  // namespace sage::tok
