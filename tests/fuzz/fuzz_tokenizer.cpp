// Any text as a tokenizer.json, and any text through it. What follows the first NUL byte is the text to encode. An input that
// begins with \1 is a folder without tokenizer.json instead: vocab.json, merges.txt, tokenizer_config.json,
// special_tokens_map.json, added_tokens.json and the text, with a NUL byte between them. With \2 it is one with tokenizer.json in
// the place of the first two.
// Links: sage_model
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/model/tokenizer.h"
#include "core/util/errors.h"

namespace {

void try_text(const sage::Tokenizer& tokenizer, std::string_view text) {
  try {
    for (const bool special : {false, true}) {
      const std::vector<int32_t> ids = tokenizer.encode(text, special);
      for (int32_t id : ids)
        if (id < 0 || id >= tokenizer.vocabulary_size()) std::abort();
      tokenizer.decode(ids, special);
    }
  } catch (const sage::Error&) {
  }
}

// Cuts off what stands before the next NUL byte.
std::string_view next_field(std::string_view& rest) {
  const size_t cut = rest.find('\0');
  const std::string_view field = rest.substr(0, cut);
  rest = cut == std::string_view::npos ? std::string_view() : rest.substr(cut + 1);
  return field;
}

sage::Tokenizer load(std::string_view& rest) {
  const bool one_file = rest.starts_with('\2');
  if (!one_file && !rest.starts_with('\1')) return sage::Tokenizer::from_json(next_field(rest), "fuzz");
  rest.remove_prefix(1);
  std::vector<const char*> names = {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
  if (one_file)
    names.insert(names.begin(), "tokenizer.json");
  else
    names.insert(names.begin(), {"vocab.json", "merges.txt"});
  std::map<std::string, std::string> files;
  for (const char* name : names)
    if (const std::string_view field = next_field(rest); !field.empty()) files[name] = field;
  return sage::Tokenizer::from_texts(files, "fuzz");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  try {
    const sage::Tokenizer tokenizer = load(rest);
    try_text(tokenizer, "Hello, world's 123 \xc3\xa9\xe2\x82\xac <s>\n");
    try_text(tokenizer, rest.substr(0, 256));
  } catch (const sage::Error&) {
  }
  return 0;
}
