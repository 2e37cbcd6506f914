#include "experiments/cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <charconv>
#include <sstream>
#include <typeinfo>

#include "core/config/value.h"

namespace sage {
namespace po = boost::program_options;
namespace {

// Abbreviations would make every new option a change of old scripts.
constexpr int kStyle = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;

struct GlobalName {
  const char* name;
  bool takes_value;
};
constexpr GlobalName kGlobal[] = {{"-q", false},       {"--quiet", false},   {"-v", false},     {"--verbose", false},
                                  {"--threads", true}, {"--version", false}, {"--help", false}, {"-h", false}};

bool is_number(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool looks_like_option(const std::string& word) { return word.size() > 1 && word[0] == '-' && !is_number(word); }

std::string did_you_mean(const std::string& word, const std::vector<std::string>& names) {
  // Dashes are in every name and would make unlike ones look alike.
  const auto bare = [](std::string s) {
    s.erase(0, s.find_first_not_of('-'));
    return s;
  };
  std::vector<std::string> plain;
  for (const std::string& n : names)
    plain.push_back(bare(n));
  const std::string near = nearest_name(bare(word), plain);
  if (near.empty()) return "";
  const auto at = std::find(plain.begin(), plain.end(), near) - plain.begin();
  return fmt::format("; did you mean '{}'?", names[static_cast<size_t>(at)]);
}

[[noreturn]] void fail(const std::string& verb, const std::string& what) {
  throw UserError("{}: {}; see `sageptq help {}`", verb, what, verb);
}

// "" if the text is a number of this type, else what was expected. Boost reads -4 as a large unsigned number.
std::string expected_number(const std::type_info& type, const std::string& text) {
  const auto whole = [&](auto value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && !text.empty();
  };
  if (type == typeid(int)) return whole(int{}) ? "" : "a whole number";
  if (type == typeid(int64_t)) return whole(int64_t{}) ? "" : "a whole number";
  if (type == typeid(uint64_t)) return whole(uint64_t{}) ? "" : "a whole number of at least 0";
  if (type == typeid(double)) return is_number(text) ? "" : "a number";
  return "";
}

void check_numbers(const po::parsed_options& parsed, const VerbOptions& options, const std::string& verb) {
  for (const auto& o : parsed.options) {
    const po::option_description* known = o.unregistered ? nullptr : options.description.find_nothrow(o.string_key, false);
    const auto* typed = known == nullptr ? nullptr : dynamic_cast<const po::typed_value_base*>(known->semantic().get());
    if (typed == nullptr) continue;
    for (const std::string& text : o.value)
      if (const std::string expected = expected_number(typed->value_type(), text); !expected.empty())
        fail(verb, fmt::format("option '--{}': found '{}'; expected {}", o.string_key, text, expected));
  }
}

}  // namespace

GlobalOptions parse_global_options(const std::vector<std::string>& words) {
  GlobalOptions g;
  size_t i = 0;
  for (; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word.empty() || word[0] != '-') break;
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    std::vector<std::string> names;
    const GlobalName* known = nullptr;
    for (const GlobalName& o : kGlobal) {
      names.emplace_back(o.name);
      if (name == o.name) known = &o;
    }
    if (known == nullptr)
      throw UserError("unknown option '{}' before the command; expected one of: {}{}; options of a command follow its name",
                      name, fmt::join(names, ", "), did_you_mean(name, names));
    if (!known->takes_value && equals != std::string::npos)
      throw UserError("option '{}' takes no value; found '{}'", name, word.substr(equals + 1));
    if (name == "--threads") {
      std::string value;
      if (equals != std::string::npos)
        value = word.substr(equals + 1);
      else if (i + 1 < words.size())
        value = words[++i];
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), g.threads);
      if (error != std::errc() || end != value.data() + value.size() || g.threads < 1 || g.threads > 4096)
        throw UserError("option '--threads': found '{}'; expected a number from 1 to 4096", value);
    } else if (name == "-q" || name == "--quiet") {
      ++g.quiet;
    } else if (name == "-v" || name == "--verbose") {
      ++g.verbose;
    } else if (name == "--version") {
      g.version = true;
    } else {
      g.help = true;
    }
  }
  g.verb = i;
  return g;
}

VerbOptions::VerbOptions(const Verb& verb) : description("options") {
  verb.declare(description, positional);
  description.add_options()("help,h", "this text");
}

std::vector<std::string> VerbOptions::names() const {
  std::vector<std::string> hidden;
  const unsigned count = std::min(positional.max_total_count(), 64u);
  for (unsigned i = 0; i < count; ++i)
    hidden.push_back(positional.name_for_position(i));
  std::vector<std::string> out;
  for (const auto& o : description.options()) {
    if (std::find(hidden.begin(), hidden.end(), o->long_name()) != hidden.end()) continue;
    out.push_back("--" + o->long_name());
    const std::string s = o->canonical_display_name(po::command_line_style::allow_dash_for_short);
    if (s.size() == 2 && s[0] == '-' && s[1] != '-') out.push_back(s);
  }
  return out;
}

po::variables_map parse_verb_options(const Verb& verb, const std::vector<std::string>& words, bool* help) {
  const VerbOptions options(verb);
  po::variables_map map;
  *help = false;
  for (const std::string& word : words) {
    if (word == "--") break;
    *help |= word == "--help" || word == "-h";
  }
  if (*help) return map;
  try {
    const po::parsed_options parsed =
        po::command_line_parser(words).options(options.description).positional(options.positional).style(kStyle).run();
    for (const auto& o : parsed.options) {
      if (o.position_key != -1) continue;
      for (size_t i = 1; i < o.original_tokens.size(); ++i)
        if (looks_like_option(o.original_tokens[i]))
          fail(verb.name,
               fmt::format("option '{0}' needs a value; found the option '{1}'; write {0}={1} if it is meant as the value",
                           o.original_tokens[0], o.original_tokens[i]));
    }
    check_numbers(parsed, options, verb.name);
    po::store(parsed, map);
    po::notify(map);
  } catch (const po::unknown_option& e) {
    const std::string name = e.get_option_name();
    for (const GlobalName& g : kGlobal)
      if (name == g.name)
        fail(verb.name, fmt::format("'{}' is an option of sageptq itself; expected it before '{}'", name, verb.name));
    const std::vector<std::string> names = options.names();
    fail(verb.name,
         fmt::format("unknown option '{}'; expected one of: {}{}", name, fmt::join(names, ", "), did_you_mean(name, names)));
  } catch (const po::too_many_positional_options_error&) {
    fail(verb.name, fmt::format("too many arguments; expected: sageptq {} {}", verb.name, verb.synopsis));
  } catch (const po::required_option& e) {
    std::string name = e.get_option_name();
    name.erase(0, name.find_first_not_of('-'));
    bool positional = false;
    for (unsigned i = 0; i < std::min(options.positional.max_total_count(), 64u); ++i)
      positional |= options.positional.name_for_position(i) == name;
    fail(verb.name, positional
                        ? fmt::format("the argument '{}' is missing; expected: sageptq {} {}", name, verb.name, verb.synopsis)
                        : fmt::format("the option '--{}' is missing; expected: sageptq {} {}", name, verb.name, verb.synopsis));
  } catch (const po::error& e) {
    fail(verb.name, e.what());
  }
  return map;
}

std::string shell_words(const std::vector<std::string>& words) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+./=:,@%";
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      out += word;
      continue;
    }
    out += '\'';
    for (const char c : word)
      out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    out += '\'';
  }
  return out;
}

const Verb& find_verb(const std::vector<Verb>& verbs, const std::string& name) {
  std::vector<std::string> names;
  for (const Verb& v : verbs) {
    if (v.name == name) return v;
    if (!v.hidden) names.push_back(v.name);
  }
  names.push_back("help");
  throw UserError("unknown command '{}'; expected one of: {}{}", name, fmt::join(names, ", "), did_you_mean(name, names));
}

std::string main_help(const std::vector<Verb>& verbs) {
  std::string text = "usage: sageptq [-q | -v] [--threads N] COMMAND ...\n\ncommands:\n";
  size_t width = 4;
  for (const Verb& v : verbs)
    if (!v.hidden) width = std::max(width, v.name.size());
  for (const Verb& v : verbs)
    if (!v.hidden) text += fmt::format("  {:<{}}  {}\n", v.name, width, v.summary);
  text += fmt::format("  {:<{}}  {}\n", "help", width, "What a command does, and its options: sageptq help COMMAND.");
  text +=
      "\noptions before the command:\n"
      "  -q, --quiet     warnings and errors only\n"
      "  -v, --verbose   say more\n"
      "  --threads N     compute threads; the results do not depend on it\n"
      "  --version       print the version\n"
      "  -h, --help      this text\n"
      "\nData goes to stdout, talk to stderr. Exit codes: 0 done, 1 internal error, 2 wrong command or file, 3 missing, "
      "damaged or\n"
      "unusable resource, 4 some points failed, 5 outside tolerance, 75 stopped early (run again to resume), 130 interrupted.\n";
  return text;
}

std::string verb_help(const Verb& verb) {
  const VerbOptions options(verb);
  std::ostringstream out;
  out << "usage: sageptq " << verb.name << (verb.synopsis.empty() ? "" : " ") << verb.synopsis << "\n\n"
      << verb.summary << "\n\n";
  options.description.print(out);
  return out.str();
}

}  // namespace sage
