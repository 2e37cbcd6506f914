#include "core/eval/text.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/model/tokenizer_unicode.h"
#include "core/util/errors.h"
#include "core/util/file_kind.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {

namespace {

constexpr uint64_t kMaxTextBytes = uint64_t{1} << 30;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

struct Named {
  const char* name;
  const char* file;  // below $SAGEPTQ_DATA, or below the cache folder
  const char* title;
  bool cached;
};
constexpr Named kNamed[] = {
    {"wikitext2:test", "wikitext-2/wiki.test.raw.gz", "WikiText-2 raw test", false},
    {"wikitext2:valid", "wikitext-2/wiki.valid.raw.gz", "WikiText-2 raw validation", false},
    {"wikitext2:train", "wikitext-2/wiki.train.head-nonblank.raw.gz", "WikiText-2 raw train (first 9 %, no blank rows)", false},
    {"c4:validation", "c4/c4-validation.00000.head1000.jsonl.gz", "C4 en validation (first 1000 documents)", false},
    {"c4:calibration", "calibration/c4-demo300.jsonl.gz", "C4 (300 documents)", false},
    {"wikipedia:calibration", "calibration/wikipedia-30-articles.txt.gz", "English Wikipedia (30 articles)", false},
    {"enwiki:test", "texts/enwiki-articles/test.txt", "English Wikipedia (16 articles of gensim's test data)", true},
    {"enwiki:calibration", "texts/enwiki-articles/calibration.txt", "English Wikipedia (90 articles of gensim's test data)",
     true},
};

std::string data_folder() {
  const char* folder = std::getenv("SAGEPTQ_DATA");
  return folder == nullptr ? "" : folder;
}

std::string joined_names() {
  std::string out;
  for (const std::string& n : text_names())
    out += (out.empty() ? "" : ", ") + n;
  return out;
}

// Resolves `default` and a missing split.
const Named* find_named(std::string name) {
  if (name == "wikitext-2" || name.rfind("wikitext-2:", 0) == 0) name.erase(8, 1);
  if (name == "default" || name == "default:test") name = data_folder().empty() ? "enwiki:test" : "wikitext2:test";
  if (name == "default:calibration") name = data_folder().empty() ? "enwiki:calibration" : "wikitext2:train";
  const bool bare = name.find(':') == std::string::npos;
  for (const Named& n : kNamed) {
    const std::string_view candidate = n.name;
    if (candidate == name || (bare && candidate.substr(0, candidate.find(':')) == name)) return &n;
  }
  return nullptr;
}

struct Found {
  std::string path;
  std::string title;
};

Found find(const std::string& name_or_path) {
  if (std::filesystem::is_regular_file(name_or_path))
    return {name_or_path, std::filesystem::path(name_or_path).filename().string()};
  const Named* named = find_named(name_or_path);
  if (named == nullptr) {
    if (name_or_path.find('/') != std::string::npos || name_or_path.find('.') != std::string::npos)
      throw ResourceError("{}: no such file; expected a text file, or one of {}; check the path", name_or_path, joined_names());
    throw UserError("text \"{}\": not a file and not a known name; expected one of {}; check the spelling", name_or_path,
                    joined_names());
  }
  if (named->cached) {
    const std::string path = cache_folder() + "/" + named->file;
    if (!std::filesystem::is_regular_file(path))
      throw ResourceError(
          "text \"{}\": {} is not there; expected the fetched text; run `make quickstart` once, or give --text FILE",
          name_or_path, path);
    return {path, named->title};
  }
  const std::string folder = data_folder();
  if (folder.empty())
    throw ResourceError("text \"{}\": SAGEPTQ_DATA is not set; expected the folder that holds {}; export SAGEPTQ_DATA=DIR",
                        name_or_path, named->file);
  std::string path = folder + "/" + named->file;
  if (!std::filesystem::is_regular_file(path)) {
    const std::string plain = path.substr(0, path.size() - 3);  // unpacked copies serve as well
    if (!std::filesystem::is_regular_file(plain))
      throw ResourceError("text \"{}\": {} is not there; expected it below SAGEPTQ_DATA; check the folder", name_or_path, path);
    path = plain;
  }
  return {path, named->title};
}

bool has_ending(std::string path, std::initializer_list<const char*> endings) {
  if (path.size() > 3 && path.compare(path.size() - 3, 3, ".gz") == 0) path.resize(path.size() - 3);
  return std::any_of(endings.begin(), endings.end(), [&](const char* ending) { return path.ends_with(ending); });
}
bool is_json_lines(const std::string& path) { return has_ending(path, {".jsonl", ".json"}); }

// A web page is text, too, and may be meant; under the name of one it is.
bool is_meant(const FileKind& kind, const std::string& path) {
  return kind.is_text && kind.what.starts_with("a web page") && !is_json_lines(path);
}

// What becomes tokens without being text to most readers. Python's text mode, which the released code of most methods reads
// files in, does not see carriage returns.
std::string note_on(const Text& text, const std::optional<FileKind>& kind) {
  int64_t marks = 0, returns = 0, feeds = 0;
  for (const std::string& document : text.documents) {
    returns += std::count(document.begin(), document.end(), '\r');
    feeds += std::count(document.begin(), document.end(), '\n');
    for (size_t at = 0; (at = document.find(kByteOrderMark, at)) != std::string::npos; at += kByteOrderMark.size())
      ++marks;
  }
  std::string found;
  if (marks > 0) {
    const bool leads = marks == 1 && text.documents.front().starts_with(kByteOrderMark);
    found = leads ? "a byte order mark (U+FEFF) at its start" : fmt::format("{} byte order marks (U+FEFF)", marks);
  }
  if (returns > 0)
    found += fmt::format("{}{} carriage return{} ({} line feeds)", found.empty() ? "" : " and ", returns,
                         returns == 1 ? "" : "s", feeds);
  if (kind && !has_ending(text.path, {".html", ".htm"}))
    found += fmt::format("{}the markup of {}", found.empty() ? "" : " and ", kind->what);
  return found.empty() ? "" : fmt::format("{} holds {}, read as text like every other byte", text.name, found);
}

// The lines of a text, each with its line feed if it has one.
std::vector<std::string_view> rows_of(std::string_view text) {
  std::vector<std::string_view> rows;
  for (size_t at = 0; at < text.size();) {
    const size_t feed = text.find('\n', at);
    const size_t end = feed == std::string_view::npos ? text.size() : feed + 1;
    rows.push_back(text.substr(at, end - at));
    at = end;
  }
  return rows;
}

std::vector<std::string> read_documents(const std::string& content, const std::string& path) {
  std::vector<std::string> documents;
  int64_t line = 0;
  const size_t mark = content.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  for (std::string_view row : rows_of(std::string_view(content).substr(mark))) {
    ++line;
    if (row == "\n" || row == "\r\n" || row == "\r") continue;
    const auto refuse = [&](const char* what) {
      return ResourceError("{}:{}: {}; expected one JSON object a line with a string \"text\"; correct the file", path, line,
                           what);
    };
    // A callback keeps hostile nesting from growing; documents are flat.
    const auto flat = [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
      if (depth > 32) throw refuse("nested deeper than 32");
      return true;
    };
    nlohmann::json object;
    object = nlohmann::json::parse(row.begin(), row.end(), flat, false);
    if (object.is_discarded() || !object.is_object()) throw refuse("not a JSON object");
    const auto text = object.find("text");
    if (text == object.end() || !text->is_string()) throw refuse("no string \"text\"");
    documents.push_back(text->get<std::string>());
  }
  return documents;
}

}  // namespace

const char* text_join_name(TextJoin join) {
  switch (join) {
    case TextJoin::kGptq: return "gptq";
    case TextJoin::kSpaces: return "spaces";
    case TextJoin::kRawFile: break;
  }
  return "raw_file";
}

std::vector<std::string> text_names() {
  std::vector<std::string> out = {"default:test", "default:calibration"};
  for (const Named& n : kNamed)
    out.emplace_back(n.name);
  return out;
}

std::string find_text(const std::string& name_or_path) { return find(name_or_path).path; }

Text load_text(const std::string& name_or_path) {
  const Found found = find(name_or_path);
  std::string content = read_file(found.path, kMaxTextBytes);
  const std::optional<FileKind> kind = file_kind(std::string_view(content).substr(0, 512), content.size(), found.path);
  if (kind && !is_meant(*kind, found.path))
    throw ResourceError("{}: is {}; expected UTF-8 text; {}", found.path, kind->what, kind->remedy);
  if (const size_t bad = find_invalid_utf8(content); bad != std::string_view::npos) {
    throw ResourceError("{}: byte {:#04x} at offset {} is not UTF-8; expected UTF-8 text; convert the file (e.g. with iconv)",
                        found.path, static_cast<unsigned char>(content[bad]), bad);
  }
  Text text;
  text.name = found.title;
  text.path = found.path;
  text.digest = sha256_hex(content);
  text.json_lines = is_json_lines(found.path);
  if (text.json_lines)
    text.documents = read_documents(content, found.path);
  else
    text.documents.push_back(std::move(content));
  text.note = note_on(text, kind);
  if (!text.note.empty())
    log_warning_once(
        fmt::format("{}{}; numbers are those of the file's bytes; remove it to compare with tools that do not see it", text.path,
                    text.note.substr(text.name.size())));
  return text;
}

std::string join_text(const Text& text, TextJoin join) {
  std::string out;
  if (text.json_lines) {
    for (size_t i = 0; i < text.documents.size(); ++i) {
      if (join != TextJoin::kRawFile && i > 0) out += ' ';
      out += text.documents[i];
      if (join == TextJoin::kRawFile) out += '\n';
    }
    return out;
  }
  if (join == TextJoin::kRawFile) return text.documents.empty() ? "" : text.documents[0];
  for (const std::string& document : text.documents) {
    bool first = true;
    for (std::string_view row : rows_of(document)) {
      if (!first) out += join == TextJoin::kSpaces ? " " : "\n\n";
      first = false;
      if (row != " \n") out += row;
    }
  }
  return out;
}

}  // namespace sage
