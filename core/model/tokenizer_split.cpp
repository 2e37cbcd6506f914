#include <algorithm>
#include <array>
#include <charconv>

#include "core/model/tokenizer_parts.h"
#include "core/model/tokenizer_unicode.h"

namespace sage::tok {

namespace {

// GPT-2's pattern, which ByteLevel applies by itself.
constexpr const char* kByteLevelPattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Which parts become pieces, and how neighbours are joined. Mirrors NormalizedString::split of the library. True: the first
// piece it made begins where `piece` does.
bool cut_piece(const std::string& piece, std::vector<RegexPart> parts, SplitBehavior behavior, bool invert,
               std::vector<std::string>& out) {
  if (invert) {
    for (RegexPart& p : parts)
      p.match = !p.match;
  }
  std::vector<RegexPart> joined;
  switch (behavior) {
    case SplitBehavior::kIsolated: joined = std::move(parts); break;
    case SplitBehavior::kRemoved:
      for (const RegexPart& p : parts) {
        if (!p.match) joined.push_back(p);
      }
      break;
    case SplitBehavior::kContiguous: {
      bool previous = false;
      for (const RegexPart& p : parts) {
        if (p.match == previous && !joined.empty())
          joined.back().end = p.end;
        else
          joined.push_back(p);
        previous = p.match;
      }
      break;
    }
    case SplitBehavior::kMergedWithPrevious: {
      bool previous = false;
      for (const RegexPart& p : parts) {
        if (p.match && !previous && !joined.empty())
          joined.back().end = p.end;
        else
          joined.push_back(p);
        previous = p.match;
      }
      break;
    }
    case SplitBehavior::kMergedWithNext: {
      bool previous = false;
      for (auto p = parts.rbegin(); p != parts.rend(); ++p) {
        if (p->match && !previous && !joined.empty())
          joined.back().begin = p->begin;
        else
          joined.push_back(*p);
        previous = p->match;
      }
      std::reverse(joined.begin(), joined.end());
      break;
    }
  }
  std::erase_if(joined, [](const RegexPart& p) { return p.end <= p.begin; });
  for (const RegexPart& p : joined)
    out.push_back(piece.substr(p.begin, p.end - p.begin));
  return !joined.empty() && joined.front().begin == 0;
}

// Cuts every piece; cut(piece, out) says whether the first it made begins where the piece does.
template <class Cut>
Pieces cut_each(const Pieces& pieces, const Cut& cut) {
  Pieces out;
  for (size_t i = 0; i < pieces.texts.size(); ++i) {
    const bool leads = cut(pieces.texts[i], out.texts);
    if (i == 0) out.at_start = pieces.at_start && leads;
  }
  return out;
}

// GPT-2's map of bytes to printable characters: printable Latin-1 stays, the other bytes follow from U+0100 on.
struct ByteAlphabet {
  std::array<std::string, 256> text;
  std::array<int16_t, 512> byte;  // by code point, -1 where there is none
  ByteAlphabet() {
    byte.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      const uint32_t c = printable ? b : next++;
      append_utf8(text[b], c);
      byte[c] = static_cast<int16_t>(b);
    }
  }
};
const ByteAlphabet& byte_alphabet() {
  static const ByteAlphabet alphabet;
  return alphabet;
}

}  // namespace

PreTokenizer pre_split(Regex pattern, SplitBehavior behavior, bool invert) {
  return [pattern = std::move(pattern), behavior, invert](const Pieces& pieces) {
    return cut_each(pieces, [&](const std::string& piece, std::vector<std::string>& out) {
      return cut_piece(piece, pattern.cut(piece), behavior, invert, out);
    });
  };
}

PreTokenizer pre_split_class(bool (*member)(uint32_t), SplitBehavior behavior) {
  return [member, behavior](const Pieces& pieces) {
    return cut_each(pieces, [&](const std::string& piece, std::vector<std::string>& out) {
      std::vector<RegexPart> parts;
      size_t covered = 0;
      for (size_t at = 0; at < piece.size();) {
        const size_t begin = at;
        if (!member(next_code_point(piece, at))) continue;
        if (covered < begin) parts.push_back({covered, begin, false});
        parts.push_back({begin, at, true});
        covered = at;
      }
      if (covered < piece.size()) parts.push_back({covered, piece.size(), false});
      return cut_piece(piece, std::move(parts), behavior, false, out);
    });
  };
}

PreTokenizer pre_byte_level(bool add_prefix_space, bool use_regex) {
  Regex pattern = Regex::pattern(kByteLevelPattern, "ByteLevel");
  return [add_prefix_space, use_regex, pattern = std::move(pattern)](Pieces pieces) {
    for (std::string& piece : pieces.texts)
      if (add_prefix_space && piece[0] != ' ') piece.insert(piece.begin(), ' ');
    if (use_regex) {
      pieces = cut_each(pieces, [&](const std::string& piece, std::vector<std::string>& out) {
        return cut_piece(piece, pattern.cut(piece), SplitBehavior::kIsolated, false, out);
      });
    }
    const ByteAlphabet& alphabet = byte_alphabet();
    for (std::string& piece : pieces.texts) {
      std::string mapped;
      mapped.reserve(piece.size() + 4);
      for (char c : piece)
        mapped += alphabet.text[static_cast<unsigned char>(c)];
      piece = std::move(mapped);
    }
    return pieces;
  };
}

PreTokenizer pre_metaspace(std::string replacement, PrependScheme prepend, bool split) {
  const PreTokenizer cut =
      split ? pre_split(Regex::literal(replacement, "Metaspace"), SplitBehavior::kMergedWithNext, false) : PreTokenizer();
  return [replacement = std::move(replacement), prepend, cut](Pieces pieces) {
    for (size_t i = 0; i < pieces.texts.size(); ++i) {
      const bool wanted = prepend == PrependScheme::kAlways || (prepend == PrependScheme::kFirst && i == 0 && pieces.at_start);
      std::string mapped;
      for (const char c : pieces.texts[i])
        c == ' ' ? mapped += replacement : mapped += c;
      if (wanted && !mapped.starts_with(replacement)) mapped.insert(0, replacement);
      pieces.texts[i] = std::move(mapped);
    }
    return cut ? cut(std::move(pieces)) : pieces;
  };
}

PreTokenizer pre_sequence(std::vector<PreTokenizer> steps) {
  return [steps = std::move(steps)](Pieces pieces) {
    for (const PreTokenizer& step : steps)
      pieces = step(std::move(pieces));
    return pieces;
  };
}

Decoder decode_byte_level() {
  return [](std::vector<std::string> tokens) {
    const ByteAlphabet& alphabet = byte_alphabet();
    std::string bytes;
    for (const std::string& token : tokens) {
      const size_t before = bytes.size();
      for (size_t at = 0; at < token.size();) {
        const uint32_t c = next_code_point(token, at);
        if (c >= alphabet.byte.size() || alphabet.byte[c] < 0) {  // not spelled in the alphabet: the token stands for itself
          bytes.resize(before);
          bytes += token;
          break;
        }
        bytes += static_cast<char>(alphabet.byte[c]);
      }
    }
    return std::vector<std::string>{utf8_lossy(bytes)};
  };
}

Decoder decode_fuse() {
  return [](std::vector<std::string> tokens) {
    std::string text;
    for (const std::string& t : tokens)
      text += t;
    return std::vector<std::string>{text};
  };
}

Decoder decode_byte_fallback() {
  return [](std::vector<std::string> tokens) {
    std::vector<std::string> out;
    std::string run;
    const auto end_run = [&] {
      if (run.empty()) return;
      if (find_invalid_utf8(run) == std::string_view::npos) {
        out.push_back(run);
      } else {
        for (size_t i = 0; i < run.size(); ++i)
          out.emplace_back("\xEF\xBF\xBD");
      }
      run.clear();
    };
    for (std::string& token : tokens) {
      int byte = -1;
      if (token.size() == 6 && token.starts_with("<0x") && token[5] == '>') {
        const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
        if (error != std::errc{} || end != token.data() + 5 || byte < 0) byte = -1;
      }
      if (byte >= 0) {
        run += static_cast<char>(byte);
        continue;
      }
      end_run();
      out.push_back(std::move(token));
    }
    end_run();
    return out;
  };
}

Decoder decode_metaspace(std::string replacement, bool prepended) {
  return [replacement = std::move(replacement), prepended](std::vector<std::string> tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string text;
      for (std::string_view rest = tokens[i]; !rest.empty();) {
        if (rest.starts_with(replacement)) {
          if (i > 0 || !prepended) text += ' ';
          rest.remove_prefix(replacement.size());
        } else {
          text += rest.front();
          rest.remove_prefix(1);
        }
      }
      tokens[i] = std::move(text);
    }
    return tokens;
  };
}

Decoder decode_strip(std::string character, size_t start, size_t stop) {
  return [character = std::move(character), start, stop](std::vector<std::string> tokens) {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (size_t i = 0; i < start && rest.starts_with(character); ++i)
        rest.remove_prefix(character.size());
      for (size_t i = 0; i < stop && rest.ends_with(character); ++i)
        rest.remove_suffix(character.size());
      token = std::string(rest);
    }
    return tokens;
  };
}

Decoder decode_replace(Regex pattern, std::string content) {
  const Normalizer replace = normalize_replace(std::move(pattern), std::move(content));
  return [replace](std::vector<std::string> tokens) {
    for (std::string& t : tokens)
      t = replace(std::move(t));
    return tokens;
  };
}

Decoder decode_sequence(std::vector<Decoder> steps) {
  return [steps = std::move(steps)](std::vector<std::string> tokens) {
    for (const Decoder& step : steps)
      tokens = step(std::move(tokens));
    return tokens;
  };
}

}  // namespace sage::tok
