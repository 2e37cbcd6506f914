// Splitting and parsing of one verb's command line, apart from run_program so that tests see its errors.
#pragma once

#include <string>
#include <vector>

#include "experiments/cli/verb.h"

namespace sage {

// Options before the verb.
struct GlobalOptions {
  bool help = false;
  bool version = false;
  int quiet = 0;
  int verbose = 0;
  int threads = 0;  // 0 = all the machine offers
  size_t verb = 0;  // index of the verb among the words; words.size() = none given
};
// `words` is argv without the program's name.
GlobalOptions parse_global_options(const std::vector<std::string>& words);

struct VerbOptions {
  boost::program_options::options_description description;
  boost::program_options::positional_options_description positional;
  explicit VerbOptions(const Verb& verb);
  std::vector<std::string> names() const;  // "--set", "-o"; without those that are positional arguments
};
// Parses what follows the verb: no guessing of abbreviations, no value that looks like an option, unknown options with the
// nearest name. `help` is set when --help was among them; then nothing else is checked.
boost::program_options::variables_map parse_verb_options(const Verb& verb, const std::vector<std::string>& words, bool* help);

// A command line as one may paste it into a shell, words quoted where they need it.
std::string shell_words(const std::vector<std::string>& words);

const Verb& find_verb(const std::vector<Verb>& verbs, const std::string& name);
std::string main_help(const std::vector<Verb>& verbs);
std::string verb_help(const Verb& verb);

}  // namespace sage
