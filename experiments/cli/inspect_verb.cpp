// sageptq inspect: what a packed directory stores, counted from its file.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/pipeline/packed_checkpoint.h"
#include "core/util/table.h"
#include "experiments/cli/verbs.h"
#include "kernels/backends.h"

namespace sage {
namespace po = boost::program_options;
namespace {

nlohmann::json number(double v) { return std::isfinite(v) ? nlohmann::json(v) : nlohmann::json(nullptr); }

nlohmann::json roles_json(const std::map<Role, uint64_t>& roles) {
  nlohmann::json j = nlohmann::json::object();
  for (Role r : all_roles())
    if (const auto it = roles.find(r); it != roles.end()) j[role_name(r)] = it->second;
  return j;
}

nlohmann::json to_json(const PackedReport& r, const std::string& folder) {
  nlohmann::json j = {{"folder", folder},
                      {"stored_bits", r.stored_bits()},
                      {"whole_model_bits", r.whole_model_bits()},
                      {"paper_bits", r.paper_bits()},
                      {"paper_weight_bits", r.paper_weight_bits()},
                      {"paper_scaling_bits", r.paper_scaling_bits()},
                      {"linear_weights", r.linear_weights()},
                      {"quantized_weights", r.quantized_weights()},
                      {"linear_matrices", r.linear_matrices()},
                      {"quantized_matrices", r.matrices.size()},
                      {"left_out_bytes", r.left_out_bytes},
                      {"file_bytes", r.file_bytes},
                      {"metadata_bytes", r.metadata_bytes},
                      {"unquantized_bytes", r.unquantized_bytes},
                      {"relative_error", number(r.relative_error())},
                      {"roles", roles_json(r.roles())}};
  for (const MatrixReport& m : r.matrices) {
    j["matrices"].push_back({{"name", m.name}, {"layer", m.layer}, {"shape", {m.rows, m.cols}}, {"relative_error", number(m.relative_error)},
                             {"stored_bits", m.storage.stored_bits()}, {"paper_bits", m.storage.paper_bits()}, {"salient_ratio", m.salient_ratio},
                             {"groups", m.groups}, {"alternative", m.alternative}, {"roles", roles_json(m.storage.bytes)}});
    nlohmann::json& entry = j["matrices"].back();
    const MatrixOutcome& o = m.outcome;
    if (o.gram_loss) entry["gram_loss"] = number(*o.gram_loss);
    if (o.percdamp) entry["percdamp"] = number(*o.percdamp);
    if (o.damping_retries) entry["damping_retries"] = *o.damping_retries;
    if (o.dead_columns) entry["dead_columns"] = *o.dead_columns;
    if (o.threshold_cut) entry["threshold_cut"] = number(*o.threshold_cut);
  }
  return j;
}

}  // namespace

Verb inspect_verb() {
  Verb v;
  v.name = "inspect";
  v.summary = "Shows what a packed directory stores: bytes by role, both kinds of bits, the worst matrices.";
  v.synopsis = "DIR [--matrices] [--format table|json|csv|md]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()("folder", po::value<std::string>()->required(), "packed directory (first argument)")("matrices", "one row per matrix instead of one per role")(
        "format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
    p.add("folder", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const std::string folder = m["folder"].as<std::string>();
    const std::unique_ptr<Backend> backend = make_backend("cpu");
    const PackedSource source(folder, program.registries, *backend);
    const PackedReport r = source.report();
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    if (format == TableFormat::kJson) {
      fmt::print("{}\n", to_json(r, folder).dump(2));
      return ExitCode::kDone;
    }
    if (m.count("matrices") > 0) {
      Table t({{"matrix"}, {"rows", true, 0}, {"cols", true, 0}, {"D", true, 5}, {"paper bits", true}, {"stored bits", true}, {"salient %", true, 2}, {"groups", true, 0}});
      for (const MatrixReport& x : r.matrices)
        t.add_row({x.name, static_cast<double>(x.rows), static_cast<double>(x.cols), std::isfinite(x.relative_error) ? Table::Cell(x.relative_error) : Table::Cell(),
                   x.storage.paper_bits(), x.storage.stored_bits(), 100 * x.salient_ratio, static_cast<double>(x.groups)});
      fmt::print("{}", t.render(format));
      return ExitCode::kDone;
    }
    Table t({{"what"}, {"bytes", true, 0}, {"bits per linear weight", true, 4}});
    const double n = static_cast<double>(r.linear_weights());
    const auto row = [&](const std::string& name, uint64_t bytes) { t.add_row({name, static_cast<double>(bytes), 8.0 * static_cast<double>(bytes) / n}); };
    const std::map<Role, uint64_t> roles = r.roles();
    for (Role role : all_roles())
      if (const auto it = roles.find(role); it != roles.end() && it->second > 0) row(role_name(role), it->second);
    if (r.left_out_bytes > 0) row("linear layers left as they are", r.left_out_bytes);
    row("other unquantized tensors", r.unquantized_bytes - r.left_out_bytes);
    row("metadata", r.metadata_bytes);
    row("file", r.file_bytes);
    t.set_caption(fmt::format(
        "{}: {:.3f} paper bits, {:.3f} stored bits per linear weight; {:.3f} bits per weight of the whole model; D {:.4g}{}",
        folder, r.paper_bits(), r.stored_bits(), r.whole_model_bits(), r.relative_error(),
        r.left_out_matrices > 0
            ? fmt::format("; {} of {} matrices quantized, D of these", r.matrices.size(), r.linear_matrices())
            : ""));
    fmt::print("{}", t.render(format));
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
