#include "experiments/cli/options.h"

#include <filesystem>

#include "core/pipeline/pipeline_config.h"
#include "experiments/engine/runner.h"

namespace sage {
namespace po = boost::program_options;

std::vector<std::string> pipeline_overrides(const po::variables_map& m) {
  std::vector<std::string> out;
  if (m.count("set") == 0) return out;
  for (const std::string& text : m["set"].as<std::vector<std::string>>()) {
    const std::string first = text.substr(0, text.find_first_of(".="));
    bool slot = first == "coder";
    for (const PipelineSlot& s : pipeline_slots()) slot |= first == s.path;
    for (const ParamInfo& p : pipeline_parameters()) slot |= first == p.name;
    out.push_back(slot ? "pipeline." + text : text);
  }
  return out;
}

void add_device_option(po::options_description& o) {
  o.add_options()("device", po::value<std::string>()->default_value("cpu"),
                  "what to compute on: cpu, cuda, cuda-bf16, cuda-fp16, ... (sageptq list backends)");
}

std::string device_option(const po::variables_map& m) { return m["device"].as<std::string>(); }

void add_experiment_options(po::options_description& o) {
  o.add_options()("experiment", po::value<std::string>()->required(), "preset or YAML file (first argument)")(
      "model", po::value<std::string>(), "Hugging Face model directory; default: the fetched default model")(
      "set", po::value<std::vector<std::string>>()->composing(), "override, e.g. pipeline.quantizer.bits=3; repeatable")(
      "text", po::value<std::string>(), "text to evaluate on: a name (default, wikitext2) or a file")(
      "protocol", po::value<std::string>(), "gptq-2048 or llamacpp-512")("windows", po::value<int64_t>(), "windows to score; 0 = the whole text")(
      "seed", po::value<uint64_t>(), "random seed")(
      "strict", "refuse a model whose file holds tensors that its config.json does not describe")(
      "store", po::value<std::string>(), "folder of run records; default: $SAGEPTQ_STORE or results/store")(
      "format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
  add_device_option(o);
}

std::vector<std::string> experiment_overrides(const po::variables_map& m) {
  std::vector<std::string> out = pipeline_overrides(m);
  if (m.count("model") > 0) out.push_back("model.path=" + std::filesystem::absolute(m["model"].as<std::string>()).string());
  if (m.count("seed") > 0) out.push_back("seed=" + std::to_string(m["seed"].as<uint64_t>()));
  // One evaluation replaces the file's list when any of its parts is given on the command line.
  if (m.count("text") + m.count("protocol") + m.count("windows") > 0) {
    std::string eval = "eval=[{kl: true";
    if (m.count("protocol") > 0) eval += ", protocol: '" + m["protocol"].as<std::string>() + "'";
    if (m.count("text") > 0) eval += ", text: '" + m["text"].as<std::string>() + "'";
    if (m.count("windows") > 0) eval += ", windows: " + std::to_string(m["windows"].as<int64_t>());
    out.push_back(eval + "}]");
  }
  return out;
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
