// The patterns of tokenizer.json. The `tokenizers` library runs them on Oniguruma; here they run on PCRE2 with Unicode classes
// after the few constructs that mean something else there have been rewritten (or refused, where that cannot be done).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sage {

// A part of a text, and whether the pattern matched it. Parts of one list are adjacent and cover the text.
struct RegexPart {
  size_t begin = 0;
  size_t end = 0;
  bool match = false;
};

class Regex {
 public:
  // ResourceError naming `where`: a pattern that does not compile, or that PCRE2 would read differently.
  static Regex pattern(const std::string& oniguruma, const std::string& where);
  static Regex literal(const std::string& text, const std::string& where);

  // Cuts the whole text (well-formed UTF-8) into matches and what lies between them. ResourceError if PCRE2's limits are hit.
  std::vector<RegexPart> cut(std::string_view text) const;

  // Exposed for tests: the PCRE2 spelling of an Oniguruma pattern.
  static std::string translate(const std::string& oniguruma, const std::string& where);

 private:
  struct Compiled;
  static Regex compile(const std::string& text, bool literal, const std::string& where);
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace sage
