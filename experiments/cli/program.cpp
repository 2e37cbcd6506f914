#include <fmt/format.h>
#include <omp.h>

#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <system_error>

#include "core/util/log.h"
#include "core/util/processors.h"
#include "experiments/cli/command_line.h"
#include "experiments/cli/completion.h"
#include "experiments/cli/verb.h"
#include "experiments/engine/provenance.h"

namespace sage {
namespace {

ExitCode dispatch(Program& program, const std::vector<Verb>& verbs, const std::vector<std::string>& words) {
  const GlobalOptions global = parse_global_options(words);
  if (global.version) {
    fmt::print("sageptq {}\n", program_version());
    return ExitCode::kDone;
  }
  if (global.verb == words.size()) {
    if (!global.help) {
      fmt::print(stderr, "{}", main_help(verbs));
      return ExitCode::kUsage;
    }
    fmt::print("{}", main_help(verbs));
    return ExitCode::kDone;
  }
  if (global.quiet > 0 && global.verbose > 0) throw UserError("both -q and -v; expected one of them");
  if (global.quiet > 0) set_log_level(LogLevel::kWarning);
  if (global.quiet > 1) set_log_level(LogLevel::kQuiet);
  if (global.verbose > 0) set_log_level(LogLevel::kDebug);
  omp_set_num_threads(global.threads > 0 ? global.threads : default_threads().count);

  const std::string& name = words[global.verb];
  const std::vector<std::string> rest(words.begin() + static_cast<std::ptrdiff_t>(global.verb) + 1, words.end());
  if (name == "__complete") {
    for (const std::string& candidate : complete(program, verbs, rest))
      fmt::print("{}\n", candidate);
    return ExitCode::kDone;
  }
  if (name == "help" || global.help) {
    const std::vector<std::string> topic = name == "help" ? rest : std::vector<std::string>{name};
    if (topic.size() > 1) throw UserError("help: {} arguments; expected one command, as in `sageptq help list`", topic.size());
    if (topic.empty() || topic[0] == "help")
      fmt::print("{}", main_help(verbs));
    else
      fmt::print("{}", verb_help(find_verb(verbs, topic[0])));
    return ExitCode::kDone;
  }
  const Verb& verb = find_verb(verbs, name);
  bool help = false;
  const auto options = parse_verb_options(verb, rest, &help);
  if (help) {
    fmt::print("{}", verb_help(verb));
    return ExitCode::kDone;
  }
  return verb.run(program, options);
}

int report(ExitCode code, const std::string& message) {
  std::fflush(stdout);
  fmt::print(stderr, "sageptq: {}\n", message);
  return static_cast<int>(code);
}

}  // namespace

int run_program(Program& program, const std::vector<Verb>& verbs, int argc, const char* const* argv) {
  program.argv.assign(argv, argv + argc);
  const std::vector<std::string> words(program.argv.begin() + (argc > 0 ? 1 : 0), program.argv.end());
  int code = 0;
  try {
    code = static_cast<int>(dispatch(program, verbs, words));
  } catch (const Error& e) {
    if (e.code() == ExitCode::kStoppedEarly)
      code = report(e.code(), fmt::format("{}; to go on: {}", e.what(), shell_words(program.argv)));
    // A run that failed on its data is no fault of the program.
    else if (dynamic_cast<const RunError*>(&e) != nullptr)
      code = report(ExitCode::kMissingResource, e.what());
    else if (e.code() == ExitCode::kInternalError)
      code =
          report(e.code(),
                 fmt::format("internal error: {}; this is a bug of sageptq: please report it with the command line", e.what()));
    else
      code = report(e.code(), e.what());
  } catch (const std::system_error& e) {  // fmt reports a failed write to stdout so
    code = std::ferror(stdout) != 0
               ? report(ExitCode::kMissingResource, fmt::format("stdout: {}; expected room for the output", e.what()))
               : report(ExitCode::kInternalError,
                        fmt::format("internal error: {}; this is a bug of sageptq: please report it with the "
                                    "command line",
                                    e.what()));
  } catch (const std::bad_alloc&) {
    code = report(ExitCode::kMissingResource,
                  "out of memory; expected more of it to be free; a smaller model or --threads 1 may help");
  } catch (const std::exception& e) {
    code =
        report(ExitCode::kInternalError,
               fmt::format("internal error: {}; this is a bug of sageptq: please report it with the command line", e.what()));
  }
  std::cout.flush();
  // A full disk behind `> file` must not look like success.
  if ((std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout) && code == 0)
    code =
        report(ExitCode::kMissingResource, "stdout: not all output could be written; expected room for it; is the disk full?");
  return code;
}

}  // namespace sage
