// sageptq matrix: one method on one matrix, the quickest way to try an idea.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/calibration/gram.h"
#include "core/model/safetensors.h"
#include "core/pipeline/matrix_engine.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/output_path.h"
#include "core/util/table.h"
#include "experiments/cli/options.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/experiment.h"
#include "kernels/backends.h"
#include "results/matrix_file.h"
#include "results/store.h"

namespace sage {
namespace po = boost::program_options;
namespace {

constexpr std::string_view kTensorMark = ".safetensors:";

std::string input_file(const std::string& input) {
  const size_t at = input.find(kTensorMark);
  return at == std::string::npos ? input : input.substr(0, at + kTensorMark.size() - 1);
}

// FILE.h5 with a dataset, or FILE.safetensors:TENSOR.
Matrix read_input(const std::string& input, const std::string& dataset) {
  if (const size_t at = input.find(kTensorMark); at != std::string::npos)
    return SafetensorsFile(input_file(input)).load_matrix(input.substr(at + kTensorMark.size()));
  if (input.ends_with(".safetensors")) {
    constexpr size_t kMost = 12;
    std::vector<std::string> names;
    size_t matrices = 0;
    const SafetensorsFile file(input);
    for (const TensorInfo& t : file.tensors())
      if (t.shape.size() == 2 && ++matrices <= kMost) names.push_back(fmt::format("{} {}", t.name, t.shape_text()));
    throw UserError("--input {0}: names no tensor; expected {0}:TENSOR; its matrices are: {1}{2}", input, matrices > 0 ? fmt::format("{}", fmt::join(names, ", ")) : "none",
                    matrices > kMost ? fmt::format(", and {} more", matrices - kMost) : "");
  }
  return read_matrix_dataset(input, dataset);
}

nlohmann::json number(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); }

}  // namespace

Verb matrix_verb() {
  Verb v;
  v.name = "matrix";
  v.summary = "Applies a method to one matrix and reports its error and both kinds of bits.";
  v.synopsis = "--input FILE.h5|FILE.safetensors:NAME --method PRESET [--set a.b=v]... [-o OUT.h5]";
  v.declare = [](po::options_description& o, po::positional_options_description&) {
    o.add_options()("input", po::value<std::string>()->required(), "HDF5 file with the matrix, or FILE.safetensors:TENSOR")(
        "weights", po::value<std::string>()->default_value("/W"), "dataset of the matrix in an HDF5 file")(
        "gram", po::value<std::string>(), "dataset of the input Gram matrix (upper triangle is enough), for methods that calibrate")(
        "method", po::value<std::string>()->required(), "preset or experiment file")(
        "set", po::value<std::vector<std::string>>()->composing(), "override, e.g. saliency.center=zero or pipeline.quantizer.scale=row; repeatable")(
        "numerics", po::value<std::string>(), "packed (FP16 parameters, as stored) or reference (FP32, as released code computes)")(
        "seed", po::value<uint64_t>()->default_value(0), "random seed")(
        "output,o", po::value<std::string>(), "HDF5 file to write: 'dequantized' and what the components chose")(
        "format", po::value<std::string>()->default_value("table"), "table, json, csv or md");
    add_device_option(o);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const std::string input = m["input"].as<std::string>();
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    const std::string out = m.count("output") > 0 ? output_file_path(m["output"].as<std::string>()) : "";
    if (!out.empty()) {
      Store(Store::default_root()).keep_out(out);
      std::error_code none;
      if (std::filesystem::equivalent(out, input_file(input), none))
        throw UserError("-o {}: is the input; expected another file; choose another -o", out);
    }
    std::vector<std::string> overrides = pipeline_overrides(m);
    if (m.count("numerics") > 0) overrides.push_back("pipeline.numerics=" + m["numerics"].as<std::string>());
    const Experiment experiment = resolve_experiment(m["method"].as<std::string>(), overrides, program.registries);
    if (is_full_precision(experiment.pipeline))
      throw UserError("--method {}: leaves the weights in full precision; expected a method that quantizes; see `sageptq list presets`", m["method"].as<std::string>());
    const PipelineFactory factory(experiment.pipeline, program.registries);
    if (factory.needs_calibration() && m.count("gram") == 0)
      throw UserError("--method {}: calibrates, and no Gram is named; expected the Gram of the matrix's inputs; add --gram DATASET, a dataset of the same HDF5 file",
                      m["method"].as<std::string>());
    const std::unique_ptr<Backend> backend = make_backend(device_option(m));
    const Matrix w = read_input(input, m["weights"].as<std::string>());
    Matrix gram;
    std::optional<LayerHessian> hessian;
    if (m.count("gram") > 0) {
      gram = read_matrix_dataset(input, m["gram"].as<std::string>());
      if (gram.rows() != w.cols() || gram.cols() != w.cols())
        throw ResourceError("{}: Gram '{}' is {} x {}; expected {} x {}, the columns of the weights; name the right dataset", input, m["gram"].as<std::string>(),
                            gram.rows(), gram.cols(), w.cols(), w.cols());
      complete_gram(gram.view(), input);
      hessian.emplace(gram.view(), factor_options(experiment.calibration, factory.numerics()), input);
    }
    Trace trace(m.count("output") > 0);
    MatrixJob job;
    job.weights = w.view();
    job.id.name = input;
    job.seed = m["seed"].as<uint64_t>();
    job.hessian = hessian ? &*hessian : nullptr;
    job.trace = &trace;
    const MatrixResult r = quantize_matrix(factory, job, *backend);
    // The numbers are of the stored planes: decode them again and hold both against each other.
    const Matrix decoded = decode_matrix(factory, r.packed, input, *backend);
    if (decoded.size() != r.dequantized.size() || std::memcmp(decoded.data(), r.dequantized.data(), sizeof(float) * static_cast<size_t>(decoded.size())) != 0)
      throw Error(ExitCode::kInternalError, fmt::format("{}: the stored planes do not decode to the weights that were measured", input));

    if (!out.empty()) {
      MatrixFile file;
      file.dequantized = decoded.view();
      file.scalars = trace.scalars();
      file.scalars["stored_bits"] = r.storage.stored_bits();
      file.scalars["paper_bits"] = r.storage.paper_bits();
      file.texts["pipeline"] = canonical_json(experiment.pipeline);
      for (const auto& [name, a] : trace.arrays()) file.arrays[name] = {a.shape, a.values};
      write_matrix_file(out, file);
    }
    const double d = r.relative_error, audit = gaussian_rate(d);
    if (format == TableFormat::kJson) {
      nlohmann::json j = {{"input", input},
                          {"shape", {w.rows(), w.cols()}},
                          {"method", m["method"].as<std::string>()},
                          {"D", d},
                          {"paper_weight_bits", r.storage.paper_weight_bits},
                          {"paper_scaling_bits", r.storage.paper_scaling_bits},
                          {"paper_bits", r.storage.paper_bits()},
                          {"stored_bits", r.storage.stored_bits()},
                          {"excess_paper", number(r.storage.paper_bits() - audit)},
                          {"excess_stored", number(r.storage.stored_bits() - audit)},
                          {"salient_ratio", r.salient_ratio},
                          {"groups", r.groups},
                          {"alternative", r.alternative},
                          {"numerics", factory.numerics() == Numerics::kPacked ? "packed" : "reference"},
                          {"gram_loss", r.outcome.gram_loss ? number(*r.outcome.gram_loss) : nlohmann::json(nullptr)},
                          {"seconds", r.seconds},
                          {"choices", trace.scalars()}};
      for (Role role : all_roles())
        if (const auto it = r.storage.bytes.find(role); it != r.storage.bytes.end()) j["roles"][role_name(role)] = it->second;
      fmt::print("{}\n", j.dump(2));
      return ExitCode::kDone;
    }
    std::vector<Table::Column> columns = {{"method"}, {"D", true, 5}};
    std::vector<Table::Cell> row = {m["method"].as<std::string>(), d};
    if (r.outcome.gram_loss) {
      columns.push_back({"Gram loss", true, 5});
      row.push_back(*r.outcome.gram_loss);
    }
    for (const Table::Column& c : std::initializer_list<Table::Column>{{"paper bits", true},
                                                                       {"stored bits", true},
                                                                       {"excess stored", true},
                                                                       {"salient %", true, 2},
                                                                       {"groups", true, 0},
                                                                       {"seconds", true}})
      columns.push_back(c);
    for (const Table::Cell& c :
         std::initializer_list<Table::Cell>{r.storage.paper_bits(), r.storage.stored_bits(),
                                            std::isfinite(audit) ? Table::Cell(r.storage.stored_bits() - audit) : Table::Cell(),
                                            100 * r.salient_ratio, static_cast<double>(r.groups), r.seconds})
      row.push_back(c);
    Table t(columns);
    t.add_row(std::move(row));
    std::string roles;
    for (Role role : all_roles())
      if (const auto it = r.storage.bytes.find(role); it != r.storage.bytes.end() && it->second > 0)
        roles += fmt::format("{}{} {:.4f}", roles.empty() ? "" : ", ", role_name(role), 8.0 * static_cast<double>(it->second) / static_cast<double>(w.size()));
    t.set_caption(fmt::format("{} ({} x {}){}; stored bits by role: {}", input, w.rows(), w.cols(), factory.numerics() == Numerics::kReference ? ", reference numerics (FP32 parameters)" : "", roles));
    fmt::print("{}", t.render(format));
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
