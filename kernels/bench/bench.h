// Benchmarks of the kernels. Every figure is set against a bound measured in the same run: bytes against the machine's stream
// read rate, floating-point operations against OpenBLAS sgemm (ssyrk for Grams) with its own threads on the same
// shapes. Counters:
//   GB/s or GFLOP/s   best repetition
//   bound             the rate the work is limited by, same unit
//   fraction          reached / bound
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sage {

struct BenchmarkRow {
  std::string name;            // "quantize/matrix_stats"
  double best_ms = 0;          // wall time of the best repetition
  double cpu_ms = 0;           // mean processor time of a repetition, all threads together: steadier on a shared machine
  std::optional<double> rate;  // in `unit`, from best_ms
  std::string unit;            // "GB/s", "GFLOP/s"
  std::optional<double> bound;
  std::optional<double> fraction;
};

// Runs the benchmarks whose names match the regular expression (all if empty), calling `done` after each. Empty result: nothing
// matched, or the expression is not one.
std::vector<BenchmarkRow> collect_benchmarks(const std::string& filter,
                                             const std::function<void(const BenchmarkRow&)>& done = {});

// The same with Google Benchmark's own options (--benchmark_filter=REGEX, --benchmark_format=console|json|csv, ...) and output.
// Returns 0, or 1 when nothing matched the filter or an option is unknown.
int run_benchmarks(int argc, char** argv);

}  // namespace sage
