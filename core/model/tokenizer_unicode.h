// UTF-8 and the character classes of Rust's standard library that the `tokenizers` library relies on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sage {

// Byte offset of the first byte that is not part of well-formed UTF-8, or npos.
size_t find_invalid_utf8(std::string_view text);
// Each maximal ill-formed part becomes one U+FFFD, as String::from_utf8_lossy does.
std::string utf8_lossy(std::string_view bytes);

// The code point at `at` of well-formed UTF-8; moves `at` behind it.
uint32_t next_code_point(std::string_view text, size_t& at);
// Start of the last code point of a non-empty text.
size_t last_code_point_start(std::string_view text);
void append_utf8(std::string& out, uint32_t code_point);

bool is_white_space(uint32_t c);  // White_Space
bool is_numeric(uint32_t c);      // Nd, Nl, No
bool is_punctuation(uint32_t c);  // P*, and the ASCII symbols
bool is_word(uint32_t c);         // \w: Alphabetic, M*, Nd, Pc, Join_Control

}  // namespace sage
