// sageptq synth: writes a checkpoint with random weights in the shape of a real model.
#include <fmt/format.h>

#include "core/model/synthetic.h"
#include "core/util/output_path.h"
#include "experiments/cli/verbs.h"

namespace sage {
namespace po = boost::program_options;

Verb synth_verb() {
  Verb v;
  v.name = "synth";
  v.summary = "Writes a checkpoint of random weights in the shape of a real model, for speed and memory tests.";
  v.synopsis = "--shape NAME -o DIR [--layers N] [--dtype F16|F32] [--seed N]";
  v.declare = [](po::options_description& o, po::positional_options_description&) {
    std::string names;
    for (const SyntheticShape& s : synthetic_shapes()) names += (names.empty() ? "" : ", ") + s.name;
    o.add_options()("shape", po::value<std::string>()->required(), ("one of: " + names).c_str())(
        "output,o", po::value<std::string>()->required(), "folder to make")(
        "layers", po::value<int64_t>()->default_value(0), "decoder blocks; 0 = the shape's own number")(
        "dtype", po::value<std::string>()->default_value("F16"), "F16 or F32")("seed", po::value<uint64_t>()->default_value(0), "random seed");
  };
  v.run = [](const Program&, const po::variables_map& m) {
    const std::string out = new_output_path(m["output"].as<std::string>());
    DType dtype = DType::kF16;
    if (!parse_dtype(m["dtype"].as<std::string>(), &dtype))
      throw UserError("--dtype: {}; expected F16 or F32; correct it", m["dtype"].as<std::string>());
    const uint64_t bytes = write_synthetic_checkpoint(find_synthetic_shape(m["shape"].as<std::string>()), out, m["layers"].as<int64_t>(), dtype, m["seed"].as<uint64_t>());
    fmt::print("{}: {:.2f} GB\n", out, static_cast<double>(bytes) * 1e-9);
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
