#include "core/model/tokenizer.h"

#include <filesystem>

#include "core/model/tokenizer_parts.h"
#include "core/model/tokenizer_unicode.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {

namespace {

constexpr const char* kSentencePieceFile = "tokenizer.model";
constexpr uint64_t kMaxFileBytes = uint64_t{64} << 20;  // the largest published ones have about 35 MB
// Words remembered during one call: enough for the common ones, and a bound for text that never repeats itself.
constexpr size_t kMaxRememberedWords = 1 << 17;
constexpr size_t kMaxRememberedBytes = 256;

}  // namespace

struct Tokenizer::Parts {
  tok::Loaded loaded;
};

Tokenizer::Tokenizer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::from_json(std::string_view json, const std::string& name) {
  auto parts = std::make_unique<Parts>();
  parts->loaded = tok::load_tokenizer(json, name);
  return Tokenizer(std::move(parts));
}

Tokenizer Tokenizer::from_texts(const std::map<std::string, std::string>& files, const std::string& name) {
  auto parts = std::make_unique<Parts>();
  if (files.count(tok::kOwnFile) > 0) {
    parts->loaded = tok::load_tokenizer(files, name);
    return Tokenizer(std::move(parts));
  }
  const bool vocabulary = files.count(tok::kVocabularyFile) > 0, merges = files.count(tok::kMergesFile) > 0;
  if (vocabulary != merges)
    throw ResourceError("{}: {} is there, {} is not; expected both, or a tokenizer.json; get the missing file", name,
                        vocabulary ? "vocab.json" : "merges.txt", vocabulary ? "merges.txt" : "vocab.json");
  if (!vocabulary)
    throw ResourceError(
        "{}: no tokenizer; expected tokenizer.json, or vocab.json with merges.txt; {}", name,
        files.count(kSentencePieceFile) > 0
            ? "make one of tokenizer.model with transformers: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
            : "get the files anew");
  parts->loaded = tok::load_gpt2_tokenizer(files, name);
  return Tokenizer(std::move(parts));
}

Tokenizer Tokenizer::from_folder(const std::string& folder) {
  std::map<std::string, std::string> files;
  const auto take = [&](const char* name) {
    const std::string path = folder + "/" + name;
    if (std::filesystem::exists(path)) files[name] = read_file(path, kMaxFileBytes);
  };
  take(tok::kOwnFile);
  if (files.empty()) {
    for (const char* name : {tok::kVocabularyFile, tok::kMergesFile, kSentencePieceFile})
      take(name);
  }
  for (const char* name : {tok::kConfigFile, tok::kSpecialMapFile, tok::kAddedTokensFile})
    take(name);
  Tokenizer tokenizer = from_texts(files, folder);
  for (const std::string& note : tokenizer.notes())
    log_warning_once(note);
  return tokenizer;
}

Tokenizer Tokenizer::from_file(const std::string& path) { return from_json(read_file(path, kMaxFileBytes), path); }

std::vector<int32_t> Tokenizer::encode(std::string_view utf8, bool add_special_tokens) const {
  const tok::Loaded& t = parts_->loaded;
  if (const size_t bad = find_invalid_utf8(utf8); bad != std::string_view::npos) {
    throw ResourceError("text: byte {:#04x} at offset {} is not UTF-8; expected UTF-8; convert the text (e.g. with iconv)",
                        static_cast<unsigned char>(utf8[bad]), bad);
  }
  std::vector<int32_t> ids;
  if (add_special_tokens) ids = t.before;

  struct Run {
    size_t offset;
    size_t count;
  };
  std::unordered_map<std::string, Run, tok::StringHash, std::equal_to<>> remembered;
  std::vector<int32_t> remembered_ids;
  const auto encode_piece = [&](std::string& piece) {
    if (const auto known = remembered.find(piece); known != remembered.end()) {
      const auto first = remembered_ids.begin() + static_cast<std::ptrdiff_t>(known->second.offset);
      ids.insert(ids.end(), first, first + static_cast<std::ptrdiff_t>(known->second.count));
      return;
    }
    const size_t before = ids.size();
    t.model.encode(piece, ids);
    if (remembered.size() < kMaxRememberedWords && piece.size() <= kMaxRememberedBytes) {
      const size_t offset = remembered_ids.size();
      remembered_ids.insert(remembered_ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
      remembered.emplace(std::move(piece), Run{offset, ids.size() - before});
    }
  };
  const auto encode_plain = [&](std::string text, bool at_start) {
    if (text.empty()) return;
    tok::Pieces pieces;
    pieces.texts.push_back(std::move(text));
    pieces.at_start = at_start;
    if (t.pre_tokenizer) pieces = t.pre_tokenizer(std::move(pieces));
    for (std::string& piece : pieces.texts)
      encode_piece(piece);
  };

  for (const auto& part : t.raw.cut(utf8)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    std::string text(utf8.substr(part.begin, part.end - part.begin));
    if (t.normalizer) text = t.normalizer(std::move(text));
    if (t.normalized.empty()) {
      encode_plain(std::move(text), part.begin == 0);
      continue;
    }
    for (const auto& inner : t.normalized.cut(text)) {
      if (inner.id >= 0)
        ids.push_back(inner.id);
      else
        encode_plain(text.substr(inner.begin, inner.end - inner.begin), part.begin == 0 && inner.begin == 0);
    }
  }
  if (add_special_tokens) ids.insert(ids.end(), t.after.begin(), t.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special_tokens) const {
  const tok::Loaded& t = parts_->loaded;
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (int32_t id : ids) {
    if (id < 0 || id >= vocabulary_size() || !t.used[static_cast<size_t>(id)]) {
      throw UserError("token id {}: not in the vocabulary of {}; expected 0 to {}; check that the ids come from this tokenizer",
                      id, t.name, vocabulary_size() - 1);
    }
    if (skip_special_tokens && t.special[static_cast<size_t>(id)]) continue;
    tokens.push_back(t.tokens[static_cast<size_t>(id)]);
  }
  std::string text;
  if (t.decoder) {
    for (const std::string& part : t.decoder(std::move(tokens)))
      text += part;
  } else {
    for (size_t i = 0; i < tokens.size(); ++i)
      text += (i > 0 ? " " : "") + tokens[i];
  }
  return text;
}

int64_t Tokenizer::vocabulary_size() const { return static_cast<int64_t>(parts_->loaded.tokens.size()); }
const std::string& Tokenizer::digest() const { return parts_->loaded.digest; }
const std::vector<std::string>& Tokenizer::notes() const { return parts_->loaded.notes; }

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  if (const tok::AddedToken* added = parts_->loaded.added.find(token)) return added->id;
  const auto found = parts_->loaded.model.vocabulary.find(token);
  if (found == parts_->loaded.model.vocabulary.end()) return std::nullopt;
  return found->second;
}

std::optional<std::string> Tokenizer::token_of(int32_t id) const {
  if (id < 0 || id >= vocabulary_size() || !parts_->loaded.used[static_cast<size_t>(id)]) return std::nullopt;
  return parts_->loaded.tokens[static_cast<size_t>(id)];
}

std::optional<int32_t> Tokenizer::leading_special() const {
  if (parts_->loaded.before.empty()) return std::nullopt;
  return parts_->loaded.before.front();
}

}  // namespace sage
