// The verbs of analysis/, handed to run_program by main.cpp beside those of experiments/cli.
#pragma once

#include "experiments/cli/verb.h"

namespace sage {

Verb report_verb();   // tables of runs
Verb compare_verb();  // configuration difference and paired metrics of a few runs

}  // namespace sage
