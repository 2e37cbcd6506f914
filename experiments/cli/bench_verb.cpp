// sageptq bench: how fast the kernels are on this machine, and how much of what the machine could do they reach.
#include <fmt/format.h>

#include <cstdio>

#include "core/util/log.h"
#include "core/util/table.h"
#include "experiments/cli/verbs.h"
#include "kernels/backends.h"
#include "kernels/bench/bench.h"

namespace sage {
namespace po = boost::program_options;
namespace {

Table::Cell cell(const std::optional<double>& v) { return v ? Table::Cell(*v) : Table::Cell(); }

void bench(const std::string& filter, TableFormat format) {
  const std::vector<BenchmarkRow> rows =
      collect_benchmarks(filter, [](const BenchmarkRow& r) { log_info("{}: best {:.3f} ms", r.name, r.best_ms); });
  if (rows.empty())
    throw UserError(
        "bench: --filter '{}' matches no benchmark; expected a regular expression on names such as "
        "'quantize/matrix_stats' or 'forward/attention'; run without --filter to see all",
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
  table.set_caption(
      fmt::format("backend cpu: {}. best ms: wall time of the best repetition; cpu ms: mean over repetitions, all "
                  "threads; bound: stream read rate or OpenBLAS sgemm (ssyrk for Grams) on the same shapes, measured in this run",
                  make_backend("cpu")->description()));
  fmt::print("{}", table.render(format));
}

}  // namespace

Verb bench_verb() {
  Verb v;
  v.name = "bench";
  v.summary = "Times the kernels of the cpu backend and sets each against the bound of this machine.";
  v.synopsis = "[--filter REGEX] [--format table|json|csv]";
  v.declare = [](po::options_description& o, po::positional_options_description&) {
    o.add_options()("filter", po::value<std::string>()->default_value(""),
                    "only benchmarks whose name matches this expression")(
        "format", po::value<std::string>()->default_value("table"), "table, json, csv, md or latex");
  };
  v.run = [](const Program&, const po::variables_map& m) {
    bench(m["filter"].as<std::string>(), parse_table_format(m["format"].as<std::string>()));
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
