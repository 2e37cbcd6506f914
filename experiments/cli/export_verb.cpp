// sageptq export: a packed directory as an ordinary Hugging Face checkpoint.
#include <fmt/format.h>

#include "core/pipeline/packed_checkpoint.h"
#include "core/util/output_path.h"
#include "experiments/cli/verbs.h"
#include "kernels/backends.h"
#include "results/store.h"

namespace sage {
namespace po = boost::program_options;

Verb export_verb() {
  Verb v;
  v.name = "export";
  v.summary = "Writes a packed directory as an ordinary Hugging Face checkpoint, so that other tools can check the numbers.";
  v.synopsis = "PACKED --dequantized -o DIR [--dtype F16|BF16|F32]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()("folder", po::value<std::string>()->required(), "packed directory (first argument)")(
        "dequantized", "decode every linear layer to floating point (the only export there is)")("output,o", po::value<std::string>()->required(), "folder to make")(
        "dtype", po::value<std::string>()->default_value("F16"), "F16, BF16 or F32; F32 keeps every bit of the decoded weights");
    p.add("folder", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const std::string folder = m["folder"].as<std::string>();
    if (m.count("dequantized") == 0) throw UserError("export: --dequantized is missing; expected what to write; add --dequantized (the packed directory itself needs no export)");
    DType dtype = DType::kF16;
    if (!parse_dtype(m["dtype"].as<std::string>(), &dtype)) throw UserError("--dtype: {}; expected F16, BF16 or F32; correct it", m["dtype"].as<std::string>());
    const std::string out = new_output_path(m["output"].as<std::string>());
    Store(Store::default_root()).keep_out(out);
    const std::unique_ptr<Backend> backend = make_backend("cpu");
    const PackedSource source(folder, program.registries, *backend);
    export_dequantized(source, out, dtype);
    fmt::print("{}\n", out);
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
