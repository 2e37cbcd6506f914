// sageptq export: a packed directory as an ordinary Hugging Face checkpoint.
#include <fmt/format.h>

#include "core/pipeline/export_checkpoint.h"
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
        "dtype", po::value<std::string>(), "F16, BF16 or F32 for all tensors; default: what each was in the model; F32 keeps every bit of the decoded weights");
    p.add("folder", 1);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const std::string folder = m["folder"].as<std::string>();
    if (m.count("dequantized") == 0) throw UserError("export: --dequantized is missing; expected what to write; add --dequantized (the packed directory itself needs no export)");
    std::optional<DType> dtype;
    if (m.count("dtype") > 0 && !parse_dtype(m["dtype"].as<std::string>(), &dtype.emplace()))
      throw UserError("--dtype: {}; expected F16, BF16 or F32; correct it", m["dtype"].as<std::string>());
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
