// One sub-command of `sageptq`. Each lives in its own file, NAME_verb.cpp, that defines `Verb NAME_verb();`; the list of all is
// in verbs.cpp (and analysis/ adds its own). Options before the verb are global; each verb parses its own.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/variables_map.hpp>

#include <functional>
#include <string>
#include <vector>

#include "core/strategy/registries.h"
#include "core/util/errors.h"

namespace sage {

// What every verb may use: made once by main, never global.
struct Program {
  Registries registries;
  std::vector<std::string> argv;  // the command line as typed, for provenance
};

struct Verb {
  std::string name;      // "run"
  std::string summary;   // one sentence for the list of verbs
  std::string synopsis;  // "PRESET-or-FILE --model DIR [--set a.b=v]... -o OUT"
  // Declares options; positional arguments are named options listed in `positional`.
  std::function<void(boost::program_options::options_description&, boost::program_options::positional_options_description&)> declare;
  std::function<ExitCode(const Program&, const boost::program_options::variables_map&)> run;
  bool hidden = false;
};

// Parses and runs one command line; prints errors as "sageptq: MESSAGE" on stderr and returns the exit code.
int run_program(Program& program, const std::vector<Verb>& verbs, int argc, const char* const* argv);

}  // namespace sage
