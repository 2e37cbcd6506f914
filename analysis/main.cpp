// The program: the last room of the house, the only one that knows everybody.
#include "analysis/verbs.h"
#include "experiments/cli/verbs.h"
#include "kernels/cpu/openblas_choice.h"
#include "strategies/builtin.h"

int main(int argc, char** argv) {
  sage::use_openblas_kernels_of_this_machine(argv);
  sage::Program program;
  sage::register_builtin(program.registries);
  std::vector<sage::Verb> verbs = sage::experiment_verbs();
  verbs.push_back(sage::report_verb());
  verbs.push_back(sage::compare_verb());
  return sage::run_program(program, verbs, argc, argv);
}
