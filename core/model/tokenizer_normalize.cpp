#include <utf8proc.h>

#include <cstdlib>

#include "core/model/tokenizer_parts.h"
#include "core/model/tokenizer_unicode.h"
#include "core/util/errors.h"

namespace sage::tok {

namespace {

// A chain of replacements can double a text at every step; nothing legitimate comes near this.
constexpr size_t kMaxTextBytes = size_t{256} << 20;
void check_size(size_t bytes) {
  if (bytes > kMaxTextBytes)
    throw ResourceError("tokenizer: normalized text exceeds {} bytes; expected a smaller text; cut it into files",
                        kMaxTextBytes);
}

bool is_ascii(std::string_view s) {
  for (char c : s) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

}  // namespace

Normalizer normalize_form(UnicodeForm form) {
  int options = UTF8PROC_STABLE;
  const bool compose = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  options |= compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
  if (form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd) options |= UTF8PROC_COMPAT;
  return [options](std::string text) -> std::string {
    if (is_ascii(text)) return text;
    utf8proc_uint8_t* result = nullptr;
    const utf8proc_ssize_t n =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                     &result, static_cast<utf8proc_option_t>(options));
    if (n < 0) {
      throw ResourceError(
          "tokenizer: Unicode normalization of {} bytes failed ({}); expected well-formed text; cut it into files", text.size(),
          utf8proc_errmsg(n));
    }
    std::string out(reinterpret_cast<const char*>(result), static_cast<size_t>(n));
    std::free(result);
    return out;
  };
}

Normalizer normalize_lowercase() {
  return [](std::string text) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const uint32_t c = next_code_point(text, at);
      append_utf8(out, c == 0x130 ? 'i' : static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
      if (c == 0x130) append_utf8(out, 0x307);  // the one character with a longer lower case
    }
    return out;
  };
}

Normalizer normalize_strip(bool left, bool right) {
  return [left, right](std::string text) {
    size_t begin = 0, end = text.size();
    while (left && begin < end) {
      size_t next = begin;
      if (!is_white_space(next_code_point(text, next))) break;
      begin = next;
    }
    while (right && begin < end) {
      const size_t last = last_code_point_start(std::string_view(text).substr(0, end));
      size_t at = last;
      if (last < begin || !is_white_space(next_code_point(text, at))) break;
      end = last;
    }
    return text.substr(begin, end - begin);
  };
}

Normalizer normalize_replace(Regex pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](std::string text) {
    std::string out;
    for (const RegexPart& part : pattern.cut(text)) {
      if (part.match)
        out += content;
      else
        out.append(text, part.begin, part.end - part.begin);
      check_size(out.size());
    }
    return out;
  };
}

Normalizer normalize_prepend(std::string content) {
  return [content = std::move(content)](std::string text) { return text.empty() ? text : content + text; };
}

Normalizer normalize_sequence(std::vector<Normalizer> steps) {
  return [steps = std::move(steps)](std::string text) {
    for (const Normalizer& step : steps)
      text = step(std::move(text));
    return text;
  };
}

}  // namespace sage::tok
