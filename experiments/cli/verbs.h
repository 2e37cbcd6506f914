// The sub-commands of this folder, one file each.
#pragma once

#include <vector>

#include "experiments/cli/verb.h"

namespace sage {

Verb run_verb();
Verb sweep_verb();
Verb list_verb();
Verb describe_verb();
Verb check_verb();
Verb matrix_verb();
Verb eval_verb();
Verb parity_verb();
Verb tokenize_verb();
Verb inspect_verb();
Verb export_verb();
Verb synth_verb();
Verb bench_verb();
Verb doctor_verb();

// All of them, in the order of the help. Those of other rooms (analysis/) are added by main.
std::vector<Verb> experiment_verbs();

}  // namespace sage
