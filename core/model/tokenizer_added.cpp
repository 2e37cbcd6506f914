#include <fmt/format.h>

#include <algorithm>

#include "core/model/tokenizer_parts.h"
#include "core/model/tokenizer_unicode.h"

namespace sage::tok {

void AddedTokenFinder::add(std::string key, const AddedToken& token, bool is_text) {
  if (!key.empty()) entries_.push_back({std::move(key), token, is_text});
}

void AddedTokenFinder::prepare() {
  std::stable_sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) { return a.key < b.key; });
  // Two tokens whose normalized texts coincide: the first one given wins.
  const auto same = [](const Entry& a, const Entry& b) { return a.key == b.key; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  for (const Entry& e : entries_)
    starts_[static_cast<unsigned char>(e.key[0])] = true;
}

const AddedTokenFinder::Entry* AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  if (!starts_[static_cast<unsigned char>(text[at])]) return nullptr;
  auto low = entries_.begin(), high = entries_.end();  // entries that begin with text[at, at + length)
  const Entry* best = nullptr;
  for (size_t length = 0; at + length < text.size(); ++length) {
    const auto c = static_cast<unsigned char>(text[at + length]);
    const auto byte_at = [length](const Entry& e) {
      return e.key.size() > length ? static_cast<int>(static_cast<unsigned char>(e.key[length])) : -1;
    };
    low = std::partition_point(low, high, [&](const Entry& e) { return byte_at(e) < c; });
    high = std::partition_point(low, high, [&](const Entry& e) { return byte_at(e) <= c; });
    if (low == high) break;
    if (low->key.size() == length + 1) best = &*low;
  }
  return best;
}

std::vector<AddedTokenFinder::Part> AddedTokenFinder::cut(std::string_view text) const {
  std::vector<Part> parts;
  size_t covered = 0;
  for (size_t at = 0; at < text.size();) {
    const Entry* entry = longest_at(text, at);
    if (entry == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + entry->key.size();
    at = end;  // a match that is discarded below is consumed all the same
    if (entry->is_text) continue;
    const AddedToken& token = entry->token;
    if (token.single_word) {
      size_t before = begin > 0 ? last_code_point_start(text.substr(0, begin)) : 0, after = end;
      if (begin > 0 && is_word(next_code_point(text, before))) continue;
      if (end < text.size() && is_word(next_code_point(text, after))) continue;
    }
    if (token.lstrip) {
      while (begin > 0) {
        const size_t last = last_code_point_start(text.substr(0, begin));
        size_t next = last;
        if (!is_white_space(next_code_point(text, next))) break;
        begin = last;
      }
      begin = std::max(begin, covered);
    }
    if (token.rstrip) {
      while (end < text.size()) {
        size_t next = end;
        if (!is_white_space(next_code_point(text, next))) break;
        end = next;
      }
    }
    if (covered < begin) parts.push_back({covered, begin, -1});
    parts.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) parts.push_back({covered, text.size(), -1});
  return parts;
}

int32_t AddedVocabulary::next_id(const Vocabulary& model) const {
  const auto size = static_cast<int32_t>(model.size());
  return by_id_.empty() ? size : std::max(size, by_id_.rbegin()->first + 1);
}

const AddedToken* AddedVocabulary::find(std::string_view content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? nullptr : &by_id_.at(found->second);
}

void AddedVocabulary::add(std::span<const AddedToken> tokens, const Vocabulary& model) {
  // Before any is added, as in the library: what is special has to be known when the first of its text comes.
  for (const AddedToken& token : tokens)
    if (token.special && !token.content.empty() && special_texts_.insert(token.content).second) special_.push_back(token);
  for (AddedToken token : tokens) {
    if (token.content.empty()) continue;
    const AddedToken* before = find(token.content);
    const auto known = model.find(token.content);
    token.id = before != nullptr ? before->id : known != model.end() ? known->second : next_id(model);
    if (before != nullptr && *before == token) continue;
    ids_[token.content] = token.id;
    if (!is_special(token.content)) ordinary_.push_back(token);
    by_id_[token.id] = std::move(token);
  }
}

void AddedVocabulary::list(const Normalizer& normalizer, bool split_special, AddedTokenFinder& raw,
                           AddedTokenFinder& normalized) const {
  // Special tokens first: of two that are spelled alike after normalization, the library takes the special one.
  for (const auto* tokens : {&special_, &ordinary_}) {
    for (const AddedToken& first : *tokens) {
      const AddedToken& token = *find(first.content);
      const bool is_text = split_special && is_special(first.content);
      if (first.normalized)
        normalized.add(normalizer ? normalizer(first.content) : first.content, token, is_text);
      else
        raw.add(first.content, token, is_text);
    }
  }
  raw.prepare();
  normalized.prepare();
}

std::string AddedVocabulary::signature() const {
  std::string out;
  const auto add = [&](const char* list, const AddedToken& t) {
    out += fmt::format("{} {} {}:{} {:d}{:d}{:d}{:d}{:d}\n", list, find(t.content)->id, t.content.size(), t.content,
                       t.single_word, t.lstrip, t.rstrip, t.normalized, t.special);
  };
  for (const auto& [id, token] : by_id_)
    add("token", token);
  for (const AddedToken& token : special_)
    add("special", token);
  for (const AddedToken& token : ordinary_)
    add("ordinary", token);
  return out;
}

}  // namespace sage::tok
