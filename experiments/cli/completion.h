// Shell completion: `sageptq __complete WORD...` prints what the last word may become, one candidate per line.
#pragma once

#include <string>
#include <vector>

#include "experiments/cli/verb.h"

namespace sage {

// `words`: what follows the program's name, the last one unfinished (maybe empty). Candidates start with it. An empty answer
// lets the shell complete file names.
std::vector<std::string> complete(const Program& program, const std::vector<Verb>& verbs,
                                  const std::vector<std::string>& words);

}  // namespace sage
