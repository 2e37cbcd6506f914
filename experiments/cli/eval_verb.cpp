// sageptq eval: perplexity of a directory (full precision, exported or packed), and its divergence from another.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/eval/perplexity.h"
#include "core/model/forward.h"
#include "core/pipeline/packed_checkpoint.h"
#include "core/util/table.h"
#include "experiments/cli/options.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/runner.h"
#include "kernels/backends.h"

namespace sage {

namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

// JSON has no infinity or NaN.
Json number(double v) { return std::isfinite(v) ? Json(v) : Json(); }
Json numbers(const std::vector<double>& values) {
  Json out = Json::array();
  for (double v : values)
    out.push_back(number(v));
  return out;
}

Json protocol_json(const Protocol& p) {
  return {{"name", p.name},
          {"window", p.window},
          {"stride", p.stride},
          {"first_scored", p.first_scored},
          {"scored_per_window", p.scored_per_window()},
          {"bos", bos_mode_name(p.bos)},
          {"text_join", text_join_name(p.join)},
          {"mean_over", aggregate_name(p.aggregate)}};
}

struct Names {
  std::string model, backend, reference;
};

std::string as_json(const PerplexityResult& r, const TokenWindows& w, const Names& names) {
  Json out = {{"model", names.model},
              {"text", r.text_name},
              {"protocol", protocol_json(r.protocol)},
              {"windows", r.windows},
              {"windows_available", w.available},
              {"text_tokens", w.text_tokens},
              {"scored_tokens", r.scored_tokens},
              {"perplexity", number(r.perplexity)},
              {"standard_error", number(r.standard_error)},
              {"token_standard_error", number(r.token_standard_error)},
              {"nll", numbers(r.nll)}};
  if (!names.reference.empty()) {
    out["compared_with"] = names.reference;
    out["kl"] = number(r.kl_mean.mean);
    out["kl_standard_error"] = number(r.kl_mean.standard_error);
    out["top1_agreement"] = number(r.top1_mean.mean);
    out["top1_standard_error"] = number(r.top1_mean.standard_error);
    out["kl_per_window"] = numbers(r.kl);
    out["top1_per_window"] = numbers(r.top1);
  }
  out["digests"] = {
      {"model", r.model_digest}, {"text", r.text_digest}, {"tokens", r.tokens_digest}, {"tokenizer", w.tokenizer_digest}};
  out["backend"] = names.backend;
  out["seconds"] = r.seconds;
  out["tokens_per_second"] = number(r.tokens_per_second);
  out["from_kept_states"] = r.from_states;
  return out.dump(2) + "\n";
}

std::string as_table(const PerplexityResult& r, const TokenWindows& w, const Names& names, TableFormat format) {
  std::vector<Table::Column> columns = {{"model", false, 0},  {"text", false, 0},      {"protocol", false, 0},
                                        {"windows", true, 0}, {"perplexity", true, 4}, {"std. error", true, 4}};
  std::vector<Table::Cell> cells = {names.model,  r.text_name,     r.protocol.name, static_cast<double>(r.windows),
                                    r.perplexity, r.standard_error};
  if (!names.reference.empty()) {
    for (const char* name : {"KL (nats)", "KL std. error", "top-1 agreement"})
      columns.push_back({name, true, 5});
    for (double v : {r.kl_mean.mean, r.kl_mean.standard_error, r.top1_mean.mean})
      cells.emplace_back(v);
  }
  columns.push_back({"seconds", true, 1});
  columns.push_back({"tokens/s", true, 1});
  cells.emplace_back(r.seconds);
  cells.emplace_back(r.tokens_per_second);
  Table table(columns);
  table.add_row(cells);
  std::string caption = r.protocol.words() + fmt::format("; {} of {} windows", r.windows, w.available);
  if (!names.reference.empty()) caption += "; compared with " + names.reference;
  table.set_caption(caption + "; model " + r.model_digest.substr(0, 12) + ", text " + r.text_digest.substr(0, 12));
  return table.render(format);
}

ExitCode run(const Program& program, const po::variables_map& given) {
  const TableFormat format = parse_table_format(given["format"].as<std::string>());
  const Protocol protocol = protocol_option(given);
  const int64_t limit = windows_option(given);
  const int64_t budget_mib = given["memory"].as<int64_t>();
  if (budget_mib < 1 || budget_mib > (1 << 20))
    throw UserError("--memory: found {}; expected 1 to 1048576 MiB; e.g. --memory 1024", budget_mib);
  const std::unique_ptr<Backend> backend = make_backend(device_option(given));
  const std::string folder = resolve_model_path(given["model"].as<std::string>());
  const auto open = [&](const std::string& path) {
    std::unique_ptr<WeightSource> opened = open_model(path, program.registries, *backend);
    const Family& family = find_family(opened->config());
    check_forward(family, opened->config(), *backend);
    check_tensors(family, *opened);
    report_unread_tensors(family, *opened, given.count("strict") > 0);
    return opened;
  };
  const std::unique_ptr<WeightSource> source = open(folder);
  const Tokenizer tokenizer = Tokenizer::from_folder(folder);
  const TokenWindows windows = make_windows(tokenizer, load_text(given["text"].as<std::string>()), protocol, limit);
  EvalOptions options;
  options.hidden_budget_bytes = static_cast<uint64_t>(budget_mib) << 20;

  Names names{folder, backend->name(),
              given.count("compare-with") ? resolve_model_path(given["compare-with"].as<std::string>()) : ""};
  PerplexityResult result;
  if (names.reference.empty()) {
    result = evaluate_perplexity(*source, windows, *backend, options);
  } else {
    const std::unique_ptr<WeightSource> other = open(names.reference);
    const Reference reference{other.get(), FinalStates::of(*other, windows, *backend, options)};
    result = evaluate_perplexity(*source, windows, *backend, options, &reference);
  }
  const std::string text =
      format == TableFormat::kJson ? as_json(result, windows, names) : as_table(result, windows, names, format);
  std::fputs(text.c_str(), stdout);
  return ExitCode::kDone;
}

}  // namespace

Verb eval_verb() {
  Verb verb;
  verb.name = "eval";
  verb.summary =
      "Measures perplexity, and the divergence from another model, of a full-precision, exported or packed directory.";
  verb.synopsis =
      "--model DIR [--text FILE|NAME] [--protocol gptq-2048|llamacpp-512] [--windows N] [--compare-with DIR] [--format "
      "table|json|csv]";
  verb.declare = [](po::options_description& options, po::positional_options_description&) {
    std::string names;
    for (const std::string& n : text_names())
      names += (names.empty() ? "" : ", ") + n;
    auto add = options.add_options();
    add("model", po::value<std::string>()->required(),
        "model directory with its tokenizer; `default` = the fetched default model");
    add("text", po::value<std::string>()->default_value("default:test"),
        ("a file (.txt, .jsonl, .gz), or one of " + names).c_str());
    add("protocol", po::value<std::string>()->default_value("gptq-2048"),
        "gptq-2048 or llamacpp-512; another window as in gptq-128");
    add("windows", po::value<int64_t>()->default_value(0), "number of windows from the start of the text; 0 = all");
    add("compare-with", po::value<std::string>(), "model directory for KL divergence and top-1 agreement (full precision)");
    add("strict", "refuse a model whose file holds tensors that its config.json does not describe");
    add("memory", po::value<int64_t>()->default_value(1024), "MiB of hidden states in memory at a time");
    add("format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
    add_device_option(options);
  };
  verb.run = run;
  return verb;
}

}  // namespace sage
