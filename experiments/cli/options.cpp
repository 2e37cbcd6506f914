#include "experiments/cli/options.h"

#include <algorithm>
#include <filesystem>

#include "core/pipeline/pipeline_config.h"
#include "core/util/output_path.h"
#include "experiments/engine/runner.h"

namespace sage {
namespace po = boost::program_options;

namespace {

// A slot that is spelled otherwise is not among the experiment's own keys, which a later error would name.
void check_spelling(const std::string& text, const std::string& first) {
  std::vector<std::string> keys = {"extends", "sweep"}, slots = {"coder"};
  for (const auto& [section, params] : experiment_parameters()) {
    keys.push_back(section);
    if (section == "experiment")
      for (const ParamInfo& p : params)
        keys.push_back(p.name);
  }
  if (std::find(keys.begin(), keys.end(), first) != keys.end() || !nearest_name(first, keys).empty()) return;
  for (const PipelineSlot& s : pipeline_slots())
    slots.push_back(s.path);
  for (const ParamInfo& p : pipeline_parameters())
    slots.push_back(p.name);
  if (const std::string near = nearest_name(first, slots); !near.empty())
    throw UserError("--set {}: unknown key '{}'; expected one of the experiment or of its pipeline; did you mean '{}'?", text,
                    first, near);
}

}  // namespace

std::vector<std::string> pipeline_overrides(const po::variables_map& m) {
  std::vector<std::string> out;
  if (m.count("set") == 0) return out;
  for (const std::string& text : m["set"].as<std::vector<std::string>>()) {
    const std::string first = text.substr(0, text.find_first_of(".="));
    bool slot = first == "coder";
    for (const PipelineSlot& s : pipeline_slots()) slot |= first == s.path;
    for (const ParamInfo& p : pipeline_parameters()) slot |= first == p.name;
    if (!slot) check_spelling(text, first);
    out.push_back(slot ? "pipeline." + text : text);
  }
  return out;
}

void add_device_option(po::options_description& o) {
  o.add_options()("device", po::value<std::string>()->default_value("cpu"),
                  "what to compute on: cpu, cuda, cuda-bf16, cuda-fp16, ... (sageptq list backends)");
}

std::string device_option(const po::variables_map& m) { return m["device"].as<std::string>(); }

void add_override_options(po::options_description& o) {
  o.add_options()("model", po::value<std::string>(), "Hugging Face model directory; default: the fetched default model")(
      "set", po::value<std::vector<std::string>>()->composing(), "override, e.g. pipeline.quantizer.bits=3; repeatable")(
      "text", po::value<std::string>(), "text to evaluate on: a name (default, wikitext2) or a file")(
      "protocol", po::value<std::string>(), "gptq-2048 or llamacpp-512")("windows", po::value<int64_t>(), "windows to score; 0 = the whole text")(
      "kl", "also the divergence from the full-precision model; --text, --protocol, --windows and --kl change every entry of the experiment's eval")(
      "seed", po::value<int64_t>(), "random seed")(
      "strict", "refuse a model whose file holds tensors that its config.json does not describe")(
      "store", po::value<std::string>(), "folder of run records; default: $SAGEPTQ_STORE or results/store");
  add_device_option(o);
}

void add_experiment_options(po::options_description& o) {
  o.add_options()("experiment", po::value<std::string>()->required(), "preset or YAML file (first argument)");
  add_override_options(o);
  o.add_options()("format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
}

void add_run_options(po::options_description& o) {
  o.add_options()("output,o", po::value<std::string>(), "leave the packed directory here")("until", po::value<std::string>(),
                                                                                           "stop after this stage: quantize")(
      "rerun", "make the run again where it is stored already; the former record is kept beside it as KEY.former-1.h5")(
      "trace", "record what components chose (masks, labels, spectra), and the timeline of a device");
}

RunRequest run_request(const po::variables_map& m) {
  RunRequest r;
  if (m.count("output") > 0) r.output = output_path(m["output"].as<std::string>());
  if (m.count("until") == 0) return r;
  if (m["until"].as<std::string>() != "quantize")
    throw UserError("--until {}: unknown stage; expected 'quantize'; leave it out to run everything",
                    m["until"].as<std::string>());
  if (r.output.empty())
    throw UserError("--until quantize: no output is named; expected -o DIR for the packed directory; add it");
  r.until_quantize = true;
  return r;
}

std::vector<std::string> run_overrides(const po::variables_map& m) {
  std::vector<std::string> out = experiment_overrides(m);
  if (m.count("trace") > 0) out.push_back("trace=true");
  return out;
}

std::vector<std::string> experiment_overrides(const po::variables_map& m) {
  std::vector<std::string> out = pipeline_overrides(m);
  if (m.count("model") > 0) out.push_back("model.path=" + std::filesystem::absolute(m["model"].as<std::string>()).string());
  if (m.count("seed") > 0) {
    const int64_t seed = m["seed"].as<int64_t>();
    if (seed < 0) throw UserError("--seed: found {}; expected a whole number of at least 0; e.g. --seed 1", seed);
    out.push_back("seed=" + std::to_string(seed));
  }
  return out;
}

Protocol protocol_option(const po::variables_map& m) { return find_protocol(m["protocol"].as<std::string>(), "--protocol"); }

int64_t windows_option(const po::variables_map& m) {
  const int64_t windows = m["windows"].as<int64_t>();
  if (windows < 0)
    throw UserError("--windows: found {}; expected at least 0 (0 = all of the text); e.g. --windows 16", windows);
  return windows;
}

EvalOverrides evaluation_overrides(const po::variables_map& m) {
  EvalOverrides o;
  if (m.count("protocol") > 0) o.protocol = protocol_option(m).name;
  if (m.count("text") > 0) o.text = m["text"].as<std::string>();
  if (m.count("windows") > 0) o.windows = windows_option(m);
  if (m.count("kl") > 0) o.kl = true;
  return o;
}

RunnerOptions runner_options(const Program& program, const po::variables_map& m) {
  RunnerOptions o;
  o.store = m.count("store") > 0 ? m["store"].as<std::string>() : Store::default_root();
  o.backend = device_option(m);
  o.argv = program.argv;
  o.strict = m.count("strict") > 0;
  return o;
}

}  // namespace sage
