// sageptq bench: how fast a backend's operations are on this machine, and how much of what the machine could do they reach.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "core/pipeline/matrix_engine.h"
#include "core/util/log.h"
#include "core/util/table.h"
#include "experiments/cli/options.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/experiment.h"
#include "kernels/backends.h"
#include "kernels/bench/bench.h"

namespace sage {
namespace po = boost::program_options;
namespace {

Table::Cell cell(const std::optional<double>& v) { return v ? Table::Cell(*v) : Table::Cell(); }

// Presets that need no calibration on whole matrices: everything between the weights and the bytes of their planes, and back.
std::vector<MatrixBenchmark> method_benchmarks(const Program& program, const Backend& backend, bool tiny) {
  struct Method {
    std::shared_ptr<PipelineFactory> factory;
    QuantizedMatrix packed;
  };
  std::vector<std::pair<int64_t, int64_t>> shapes = {{4096, 4096}, {4096, 11008}, {8192, 28672}};
  if (tiny) shapes = {{64, 160}};
  std::vector<MatrixBenchmark> out;
  for (const char* preset : {"rtn", "sage_paper"}) {
    const auto method = std::make_shared<Method>();
    method->factory =
        std::make_shared<PipelineFactory>(resolve_experiment(preset, {}, program.registries).pipeline, program.registries);
    for (const auto& [rows, cols] : shapes) {
      const auto quantize = [method, &backend](WeightView w) {
        method->packed = quantize_matrix(*method->factory, {.weights = w, .id = {0, "benchmark"}}, backend).packed;
      };
      out.push_back({fmt::format("method/{}/{}x{}/quantize", preset, rows, cols), rows, cols, quantize});
      out.push_back({fmt::format("method/{}/{}x{}/decode", preset, rows, cols), rows, cols, [=, &backend](WeightView w) {
                       if (method->packed.rows != w.rows || method->packed.cols != w.cols) quantize(w);
                       decode_matrix(*method->factory, method->packed, "benchmark", backend);
                     }});
    }
  }
  return out;
}

std::string caption(const Backend& backend) {
  const std::string times = "best ms: wall time of the best repetition";
  if (backend.memory_is_host())
    return fmt::format(
        "backend {}: {}. {}; cpu ms: mean over repetitions, all "
        "threads; bound: stream read rate (methods: every weight read once) or OpenBLAS sgemm (ssyrk for Grams) on the "
        "same shapes (trailing updates: on a square product; splits: half of that), the best of passes in turns with the "
        "operation",
        backend.name(), backend.description(), times);
  return fmt::format(
      "backend {}: {}. {}, which ends when the device is done; matrices lie in its memory, while masks, labels and "
      "targets are sent and results brought back in that time, by methods their weights and planes, too; cpu ms: of "
      "the host, mean over repetitions; no bound of the device is known",
      backend.name(), backend.description(), times);
}

void bench(const Program& program, const Backend& backend, const std::string& filter, TableFormat format) {
  const bool tiny = backend.name() == "cuda_on_cpu";
  if (tiny)
    log_warning("cuda_on_cpu executes kernels thread by thread on the CPU: its times, of tiny sizes, say nothing about a GPU");
  const std::vector<BenchmarkRow> rows =
      collect_benchmarks(backend, {filter, tiny}, method_benchmarks(program, backend, tiny),
                         [](const BenchmarkRow& r) { log_info("{}: best {:.3f} ms", r.name, r.best_ms); });
  if (rows.empty())
    throw UserError(
        "bench: --filter '{}' matches no benchmark; expected a regular expression on names such as "
        "'quantize/matrix_stats', 'forward/attention' or 'method/sage_paper'; run without --filter to see all",
        filter);
  Table table({{"benchmark"},
               {"best ms", true, 3},
               {"cpu ms", true, 3},
               {"rate", true, 2},
               {"unit"},
               {"bound", true, 2},
               {"fraction", true, 3}});
  for (const BenchmarkRow& r : rows)
    table.add_row({r.name, r.best_ms, r.cpu_ms, cell(r.rate), r.unit.empty() ? Table::Cell() : Table::Cell(r.unit),
                   cell(r.bound), cell(r.fraction)});
  table.set_caption(caption(backend));
  fmt::print("{}", table.render(format));
}

}  // namespace

Verb bench_verb() {
  Verb v;
  v.name = "bench";
  v.summary = "Times the operations of a backend and whole methods, on the cpu each against the bound of this machine.";
  v.synopsis = "[--device NAME] [--filter REGEX] [--format table|json|csv]";
  v.declare = [](po::options_description& o, po::positional_options_description&) {
    o.add_options()("filter", po::value<std::string>()->default_value(""),
                    "only benchmarks whose name matches this expression")(
        "format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
    add_device_option(o);
  };
  v.run = [](const Program& program, const po::variables_map& m) {
    const TableFormat format = parse_table_format(m["format"].as<std::string>());
    bench(program, *make_backend(device_option(m)), m["filter"].as<std::string>(), format);
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
