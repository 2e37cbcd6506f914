// The text a number is measured on, or calibration draws from: where it is, what it is called, and its exact bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sage {

struct Text {
  std::string name;                    // for people: "WikiText-2 raw test", or the file's name
  std::string path;                    // of the file read
  std::string digest;                  // SHA-256 of the file's uncompressed bytes
  std::vector<std::string> documents;  // one for a plain file, one per line of a .jsonl
  bool json_lines = false;             // a .jsonl
  std::string note;                    // what in it becomes tokens though it may not be meant as text; "" as a rule
};

// How the documents and rows become the one string that is tokenized.
enum class TextJoin {
  // The file as it is (the documents of a .jsonl each followed by a line feed). What llama-perplexity reads.
  kRawFile,
  // As the GPTQ line of papers gets it from the `datasets` library: the file is split behind each line feed, a row that is one
  // space and a line feed becomes empty, and rows are joined with two line feeds. The documents of a .jsonl are joined with one
  // space instead, as those papers do with C4.
  kGptq,
  // Rows as for kGptq, joined with one space: how BiLLM and PB-LLM read the calibration text.
  kSpaces,
};
const char* text_join_name(TextJoin join);  // "raw_file", "gptq", "spaces"

// NAME or the path of a .txt, .jsonl (key "text"; .json with one object a line, as the shards of C4 are named, counts as one)
// or any other text file, each also as .gz. Names:
//   wikitext2[:test|valid|train]  c4[:validation|calibration]  wikipedia[:calibration]     from $SAGEPTQ_DATA
//   enwiki[:test|calibration]     the fetched Wikipedia articles in the cache folder
//   default[:test|calibration]    wikitext2:test / wikitext2:train when SAGEPTQ_DATA is set, otherwise enwiki
// An existing file wins over a name. Bytes are taken as they are; a byte order mark or carriage returns in them, and a web
// page, are said in a warning (once a process) and in `note`. UserError: an unknown name. ResourceError: the text is not there,
// is larger than 1 GiB, is not UTF-8, is a file of another kind (a Git LFS pointer, an archive, ...), or has a line that is not
// an object with a string "text".
Text load_text(const std::string& name_or_path);

// The string to tokenize.
std::string join_text(const Text& text, TextJoin join);

// What `load_text` would read, without reading it: for planning. Errors as above, except those of the content.
std::string find_text(const std::string& name_or_path);
// The names above, for help and completion.
std::vector<std::string> text_names();

}  // namespace sage
