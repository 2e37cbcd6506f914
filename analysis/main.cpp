// The program: the last room of the house, the only one that knows everybody.
#include "analysis/verbs.h"
#include "experiments/cli/verbs.h"
#include "strategies/builtin.h"

int main(int argc, char** argv) {
  sage::Program program;
  sage::register_builtin(program.registries);
  std::vector<sage::Verb> verbs = sage::experiment_verbs();
  verbs.push_back(sage::report_verb());
  verbs.push_back(sage::compare_verb());
  return sage::run_program(program, verbs, argc, argv);
}
