// Options several verbs share.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/variables_map.hpp>

#include <string>
#include <vector>

#include "core/eval/protocol.h"
#include "experiments/cli/verb.h"
#include "experiments/engine/eval_overrides.h"

namespace sage {

struct RunnerOptions;

// Every --set of the command line. A path that starts with a slot of the pipeline ("saliency.center=zero") is taken as one of
// pipeline.*, so that the common case is short.
std::vector<std::string> pipeline_overrides(const boost::program_options::variables_map& m);

// --device NAME: what to compute on. UserError and ResourceError as make_backend().
void add_device_option(boost::program_options::options_description& o);
std::string device_option(const boost::program_options::variables_map& m);

// --model, --set, --text, --protocol, --windows, --kl, --seed, --strict, --device, --store: what changes an experiment, and where it runs.
void add_override_options(boost::program_options::options_description& o);
// These, experiment (positional) and --format.
void add_experiment_options(boost::program_options::options_description& o);
// --set and the short forms (--model DIR = --set model.path=DIR, ...) in the order they apply.
std::vector<std::string> experiment_overrides(const boost::program_options::variables_map& m);
// --text, --protocol, --windows, --kl, checked; errors speak of these options.
EvalOverrides evaluation_overrides(const boost::program_options::variables_map& m);
Protocol protocol_option(const boost::program_options::variables_map& m);
int64_t windows_option(const boost::program_options::variables_map& m);

// What `run` takes beyond them, and `check` with it: --output, --until, --rerun, --trace.
void add_run_options(boost::program_options::options_description& o);
struct RunRequest {
  std::string output;  // as output_path() has it; empty: none
  bool until_quantize = false;
};
RunRequest run_request(const boost::program_options::variables_map& m);  // UserError for what does not fit together
std::vector<std::string> run_overrides(const boost::program_options::variables_map& m);  // experiment_overrides, and --trace

RunnerOptions runner_options(const Program& program, const boost::program_options::variables_map& m);

}  // namespace sage
