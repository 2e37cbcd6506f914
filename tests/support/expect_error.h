// Errors are interface: tests check that a message names what it should.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sage::test {

// The message of the error of type E that f throws.
template <class E, class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  ADD_FAILURE() << "no such error";
  return "";
}
inline void expect_words(const std::string& message, const std::vector<std::string>& words) {
  for (const std::string& w : words)
    EXPECT_NE(message.find(w), std::string::npos) << "'" << w << "' is missing in: " << message;
}

}  // namespace sage::test
