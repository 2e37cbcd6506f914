#include <fmt/format.h>

#include <queue>

#include "core/model/tokenizer_parts.h"
#include "core/model/tokenizer_unicode.h"

namespace sage::tok {

namespace {

struct Symbol {
  int32_t id;
  int32_t previous;
  int32_t next;  // -1 at the end
  bool alive;
};

struct Candidate {
  uint32_t rank;
  int32_t position;
  int32_t id;
  // std::priority_queue hands out the largest: lowest rank first, then leftmost.
  bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : position > o.position; }
};

}  // namespace

void Bpe::encode(std::string_view piece, std::vector<int32_t>& out) const {
  if (piece.empty()) return;
  if (ignore_merges) {
    if (const auto whole = vocabulary.find(piece); whole != vocabulary.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  std::vector<Symbol> symbols;
  bool pending_unknown = false;
  const auto add = [&](int32_t id) {
    const auto n = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, n - 1, n + 1, true});
  };
  std::vector<int32_t> bytes;
  const auto as_bytes = [&](std::string_view character) {
    bytes.clear();
    for (const char c : character) {
      const auto found = vocabulary.find(fmt::format("<0x{:02X}>", static_cast<unsigned char>(c)));
      if (found == vocabulary.end()) return false;
      bytes.push_back(found->second);
    }
    return true;
  };
  for (size_t at = 0; at < piece.size();) {
    const size_t begin = at;
    next_code_point(piece, at);
    const std::string_view character = piece.substr(begin, at - begin);
    const auto found = vocabulary.find(character);
    if (found != vocabulary.end()) {
      if (pending_unknown) add(*unknown);
      pending_unknown = false;
      add(found->second);
    } else if (byte_fallback && as_bytes(character)) {
      for (const int32_t id : bytes)
        add(id);
    } else if (unknown) {  // without an unknown token the library drops such characters
      if (pending_unknown && !fuse_unknown) add(*unknown);
      pending_unknown = true;
    }
  }
  if (pending_unknown) add(*unknown);
  if (symbols.empty()) return;
  symbols.back().next = -1;

  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  std::priority_queue<Candidate> queue(std::less<Candidate>{}, std::move(storage));
  const auto offer = [&](int32_t left) {
    const int32_t right = symbols[left].next;
    if (right < 0) return;
    const auto merge = merges.find(pair_key(symbols[left].id, symbols[right].id));
    if (merge != merges.end()) queue.push({merge->second.rank, left, merge->second.id});
  };
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    offer(static_cast<int32_t>(i));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (!left.alive || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Stale when the pair here has changed since; the library compares the merged token, not the rank.
    const auto merge = merges.find(pair_key(left.id, right.id));
    if (merge == merges.end() || merge->second.id != top.id) continue;
    left.id = top.id;
    right.alive = false;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = top.position;
    if (left.previous >= 0) offer(left.previous);
    offer(top.position);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next)
    out.push_back(symbols[i].id);
}

}  // namespace sage::tok
