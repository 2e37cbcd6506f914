#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/model/tokenizer_regex.h"

#include <pcre2.h>

#include <array>
#include <cctype>

#include "core/model/tokenizer_unicode.h"
#include "core/util/errors.h"

namespace sage {

namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMatchLimit = 20'000'000;  // backtracks in one match; real patterns need as many as the longest white space
constexpr uint32_t kHeapLimitKib = 256 * 1024;

// \w of Oniguruma; PCRE2's own leaves out marks and connector punctuation.
constexpr std::string_view kWordClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";

[[noreturn]] void refuse(const std::string& where, const std::string& pattern, const std::string& what) {
  throw ResourceError("{}: pattern \"{}\" has {}; expected a pattern that PCRE2 reads as Oniguruma does; simplify it", where,
                      pattern.substr(0, 200), what);
}

std::string error_text(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

bool is_script(std::string_view name) {
  for (std::string_view s : {"Han",      "Hiragana", "Katakana",   "Hangul",  "Latin",   "Cyrillic",  "Greek",    "Arabic",
                             "Hebrew",   "Thai",     "Devanagari", "Bengali", "Tamil",   "Telugu",    "Georgian", "Armenian",
                             "Ethiopic", "Khmer",    "Lao",        "Myanmar", "Tibetan", "Mongolian", "Bopomofo"}) {
    if (s == name) return true;
  }
  return false;
}

}  // namespace

struct Regex::Compiled {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  std::string where, text;
  Compiled() = default;
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() {
    pcre2_match_context_free(context);
    pcre2_code_free(code);
  }
};

std::string Regex::translate(const std::string& in, const std::string& where) {
  std::string out;
  bool in_class = false;
  size_t class_start = 0;
  for (size_t i = 0; i < in.size(); ++i) {
    const char c = in[i];
    if (c == '\\') {
      if (i + 1 >= in.size()) refuse(where, in, "a backslash at its end");
      const char e = in[++i];
      switch (e) {
        case 's': out += "\\p{White_Space}"; break;  // PCRE2's \s has U+180E as well
        case 'S': out += "\\P{White_Space}"; break;
        case 'w': out += in_class ? std::string(kWordClass) : "[" + std::string(kWordClass) + "]"; break;
        case 'W':
          if (in_class) refuse(where, in, "\\W inside a class");
          out += "[^" + std::string(kWordClass) + "]";
          break;
        case 'u': {
          const std::string digits = in.substr(i + 1, 4);
          if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos)
            refuse(where, in, "\\u without four hexadecimal digits");
          out += "\\x{" + digits + "}";
          i += 4;
          break;
        }
        case 'p':
        case 'P': {
          out += '\\';
          out += e;
          const size_t close = in.find('}', i);
          if (i + 1 < in.size() && in[i + 1] == '{' && close != std::string::npos) {
            std::string name = in.substr(i + 2, close - i - 2);
            // PCRE2 reads a bare script name as Script_Extensions, Oniguruma as Script.
            const bool negated = !name.empty() && name[0] == '^';
            if (is_script(negated ? name.substr(1) : name)) name.insert(negated ? 1 : 0, "sc:");
            out += "{" + name + "}";
            i = close;
          }
          break;
        }
        case 'h':
        case 'H':
        case 'K':
        case 'R':
        case 'X':
        case 'C':
        case 'G':
        case 'y':
        case 'Y':
        case 'N':
        case 'O':
        case 'Q':
        case 'E': refuse(where, in, std::string("the escape \\") + e);
        default: out += '\\'; out += e;
      }
    } else if (in_class) {
      const bool posix = c == '[' && i + 1 < in.size() && in[i + 1] == ':';
      if (c == '[' && !posix) refuse(where, in, "a class inside a class");
      if (c == '&' && i + 1 < in.size() && in[i + 1] == '&') refuse(where, in, "an intersection of classes (&&)");
      if (posix) {
        const size_t close = in.find(":]", i + 2);
        if (close == std::string::npos) refuse(where, in, "an unfinished [: :]");
        out += in.substr(i, close + 2 - i);
        i = close + 1;
        continue;
      }
      if (c == ']' && i > class_start) in_class = false;
      out += c;
    } else if (c == '[') {
      in_class = true;
      out += c;
      class_start = i + 1;  // a ] here is a literal
      if (i + 1 < in.size() && in[i + 1] == '^') {
        out += '^';
        ++i;
        class_start = i + 1;
      }
    } else if (c == '{' && i + 1 < in.size() && in[i + 1] == ',') {
      out += "{0";
    } else if (c == '}' && i + 1 < in.size() && in[i + 1] == '+') {
      // In Oniguruma {n,m}+ repeats the repetition; PCRE2 would make it possessive.
      refuse(where, in, "the quantifier {n,m}+");
    } else if (c == '(' && i + 1 < in.size() && in[i + 1] == '*') {
      refuse(where, in, "a verb (*...)");
    } else {
      out += c;
    }
  }
  return out;
}

Regex Regex::compile(const std::string& text, bool literal, const std::string& where) {
  if (text.size() > kMaxPatternBytes)
    throw ResourceError("{}: pattern of {} bytes; expected at most {}; shorten it", where, text.size(), kMaxPatternBytes);
  auto compiled = std::make_shared<Compiled>();
  compiled->where = where;
  compiled->text = text;
  uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK;
  // In Oniguruma's Ruby syntax ^ and $ always mean lines.
  options |= literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context, 100);
  compiled->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), options, &code, &offset, context);
  pcre2_compile_context_free(context);
  if (compiled->code == nullptr) {
    throw ResourceError("{}: pattern \"{}\" does not compile ({} at byte {}); expected a regular expression; correct it", where,
                        text.substr(0, 200), error_text(code), offset);
  }
  pcre2_jit_compile(compiled->code, PCRE2_JIT_COMPLETE);  // where it fails, matching is interpreted: same results, slower
  compiled->context = pcre2_match_context_create(nullptr);
  pcre2_set_match_limit(compiled->context, kMatchLimit);
  pcre2_set_heap_limit(compiled->context, kHeapLimitKib);
  Regex out;
  out.compiled_ = std::move(compiled);
  return out;
}

Regex Regex::pattern(const std::string& oniguruma, const std::string& where) {
  return compile(translate(oniguruma, where), false, where);
}
Regex Regex::literal(const std::string& text, const std::string& where) { return compile(text, true, where); }

std::vector<RegexPart> Regex::cut(std::string_view text) const {
  struct Scratch {
    pcre2_match_data* data;
    pcre2_match_context* context;
    pcre2_jit_stack* stack;
    ~Scratch() {
      pcre2_jit_stack_free(stack);
      pcre2_match_context_free(context);
      pcre2_match_data_free(data);
    }
  } scratch{pcre2_match_data_create(1, nullptr), pcre2_match_context_copy(compiled_->context), nullptr};
  if (text.size() > 256) {  // short subjects do with the machine stack that every JIT match has anyway
    scratch.stack = pcre2_jit_stack_create(32 * 1024, 8 * 1024 * 1024, nullptr);
    pcre2_jit_stack_assign(scratch.context, nullptr, scratch.stack);
  }
  const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(scratch.data);
  std::vector<RegexPart> parts;
  size_t covered = 0, at = 0;
  size_t last_end = std::string_view::npos;
  while (at <= text.size()) {
    const int rc = pcre2_match(compiled_->code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at, PCRE2_NO_UTF_CHECK,
                               scratch.data, scratch.context);
    if (rc == PCRE2_ERROR_NOMATCH) break;
    if (rc < 0) {
      throw ResourceError(
          "{}: pattern \"{}\" failed on a text of {} bytes ({}); expected a match within the limits; simplify "
          "the pattern or cut the text",
          compiled_->where, compiled_->text.substr(0, 200), text.size(), error_text(rc));
    }
    const size_t begin = ovector[0], end = ovector[1];
    if (begin > end || begin < covered) {
      throw ResourceError("{}: pattern \"{}\" matched backwards; expected a match that ends after it begins; simplify it",
                          compiled_->where, compiled_->text.substr(0, 200));
    }
    if (begin == end && end == last_end) {  // no empty match right behind a match
      if (at >= text.size()) break;
      next_code_point(text, at);
      continue;
    }
    if (covered != begin) parts.push_back({covered, begin, false});
    parts.push_back({begin, end, true});
    covered = at = last_end = end;
  }
  if (covered != text.size()) parts.push_back({covered, text.size(), false});
  return parts;
}

}  // namespace sage
