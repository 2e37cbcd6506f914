// Any text as a tokenizer.json, and any text through it. What follows the first NUL byte is the text to encode.
// Links: sage_model
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t cut = all.find('\0');
  const std::string_view json = all.substr(0, cut);
  const std::string_view text = cut == std::string_view::npos ? std::string_view() : all.substr(cut + 1);
  try {
    const sage::Tokenizer tokenizer = sage::Tokenizer::from_json(json, "fuzz");
    try_text(tokenizer, "Hello, world's 123 \xc3\xa9\xe2\x82\xac <s>\n");
    try_text(tokenizer, text.substr(0, 256));
  } catch (const sage::Error&) {
  }
  return 0;
}
