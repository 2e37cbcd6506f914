// Text of hostile files inside messages: quoted, without control characters, of bounded length.
#pragma once

#include <string>

namespace sage::config_detail {

// 'text', shortened to about 80 characters. quote '\0' = no quotes.
std::string shown(const std::string& text, char quote = '\'');

}  // namespace sage::config_detail
