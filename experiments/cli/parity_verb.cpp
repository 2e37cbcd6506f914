// sageptq parity: our forward pass against reference activations from another implementation.
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "core/model/family.h"
#include "core/model/parity.h"
#include "core/util/table.h"
#include "experiments/cli/options.h"
#include "experiments/cli/verb.h"
#include "kernels/backends.h"

namespace sage {

namespace {

namespace po = boost::program_options;

// JSON has no infinity or NaN.
nlohmann::ordered_json number(double v) { return std::isfinite(v) ? nlohmann::ordered_json(v) : nlohmann::ordered_json(); }

std::string as_json(const ParityReport& report, const std::string& model, const std::string& expected,
                    const std::string& backend) {
  nlohmann::ordered_json out = {{"model", model},
                                {"expected", expected},
                                {"backend", backend},
                                {"tolerance", report.tolerance},
                                {"within", report.within()},
                                {"verdict", report.verdict()}};
  out["first_divergence"] = nullptr;
  if (const ParityRow* r = report.first_outside())
    out["first_divergence"] = {{"tensor", r->tensor},
                               {"place", r->first_place},
                               {"found", number(r->first_ours)},
                               {"expected", number(r->first_expected)}};
  out["tensors"] = nlohmann::ordered_json::array();
  for (const ParityRow& r : report.rows)
    out["tensors"].push_back({{"tensor", r.tensor},
                              {"values", r.values},
                              {"max_abs", number(r.max_abs)},
                              {"mean_abs", number(r.mean_abs)},
                              {"within", r.within}});
  return out.dump(2) + "\n";
}

std::string as_table(const ParityReport& report, TableFormat format) {
  Table table(
      {{"tensor", false, 0}, {"values", true, 0}, {"max difference", true, 9}, {"mean difference", true, 9}, {"", false, 0}});
  for (const ParityRow& r : report.rows)
    table.add_row(
        {r.tensor, std::to_string(r.values), r.max_abs, r.mean_abs, r.within ? "ok" : "outside, from " + r.first_place});
  table.set_caption(report.verdict());
  return table.render(format);
}

}  // namespace

Verb parity_verb() {
  Verb verb;
  verb.name = "parity";
  verb.summary = "Compares logits and every layer's hidden states with a reference file; exit 5 outside the tolerance.";
  verb.synopsis = "--model DIR --expected FILE [--tolerance 1e-4] [--device NAME] [--format table|json]";
  // clang-format off
  verb.declare = [](po::options_description& options, po::positional_options_description&) {
    options.add_options()
        ("model", po::value<std::string>()->required(), "Hugging Face model directory")
        ("expected", po::value<std::string>()->required(), "safetensors file with input_ids, hidden states and logits")
        ("tolerance", po::value<double>()->default_value(1e-4, "1e-4"), "largest absolute difference allowed, beside 16 units of FP32 rounding of the expected value")
        ("format", po::value<std::string>()->default_value("table"), "table, md, csv, latex or json");
    add_device_option(options);
  };
  // clang-format on
  verb.run = [](const Program&, const po::variables_map& given) {
    const double tolerance = given["tolerance"].as<double>();
    if (!(tolerance >= 0) || !std::isfinite(tolerance))
      throw UserError("--tolerance: found {}; expected a number of at least 0; e.g. --tolerance 1e-4", tolerance);
    const TableFormat format = parse_table_format(given["format"].as<std::string>());
    const std::unique_ptr<Backend> backend = make_backend(device_option(given));
    const std::string folder = given["model"].as<std::string>(), path = given["expected"].as<std::string>();
    const std::unique_ptr<WeightSource> source = open_checkpoint(folder);
    const ParityReport report =
        check_parity(find_family(source->config()), *source, SafetensorsFile(path), *backend, tolerance);
    const std::string text =
        format == TableFormat::kJson ? as_json(report, folder, path, backend->name()) : as_table(report, format);
    std::fputs(text.c_str(), stdout);
    if (!report.within()) throw ToleranceError(report.verdict() + "; compare the model's files with the reference");
    return ExitCode::kDone;
  };
  return verb;
}

}  // namespace sage
