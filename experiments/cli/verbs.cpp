#include "experiments/cli/verbs.h"

namespace sage {

std::vector<Verb> experiment_verbs() {
  return {run_verb(),    sweep_verb(),    list_verb(),    describe_verb(), check_verb(), matrix_verb(), eval_verb(),
          parity_verb(), tokenize_verb(), inspect_verb(), export_verb(),   synth_verb(), bench_verb(),  doctor_verb()};
}

}  // namespace sage
