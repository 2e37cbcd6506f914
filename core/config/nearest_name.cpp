#include <algorithm>
#include <vector>

#include "core/config/value.h"

namespace sage {
namespace {

constexpr size_t kLongestName = 64;  // nothing we name is longer, and the distance costs a product of lengths

// Damerau-Levenshtein distance in its restricted form: no substring is edited twice.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j)
    last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::string folded(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    c = c == '-' ? '_' : static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return out;
}

}  // namespace

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.empty() || word.size() > kLongestName) return "";
  const std::string w = folded(word);
  std::string best;
  size_t least = std::max<size_t>(1, w.size() / 3) + 1;
  for (const std::string& c : candidates) {
    if (c.empty() || c.size() > kLongestName) continue;
    const size_t d = distance(w, folded(c));
    if (d < least) {
      least = d;
      best = c;
    }
  }
  return best;
}

}  // namespace sage
