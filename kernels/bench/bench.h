// Benchmarks of the kernels. Every figure is set against a bound measured in the same run: bytes against the machine's stream
// read rate, floating-point operations against OpenBLAS sgemm (ssyrk for Grams) with its own threads on the same
// shapes (trailing updates: on a square product; splits: half of that, for doubles). Counters:
//   GB/s, GFLOP/s or Mweights/s   best repetition
//   bound             the rate the work is limited by, same unit
//   fraction          reached / bound
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor/view.h"

namespace sage {

struct BenchmarkRow {
  std::string name;            // "quantize/matrix_stats"
  double best_ms = 0;          // wall time of the best repetition
  double cpu_ms = 0;           // mean processor time of a repetition, all threads together: steadier on a shared machine
  std::optional<double> rate;  // in `unit`, from best_ms
  std::string unit;            // "GB/s", "GFLOP/s", "Mweights/s"
  std::optional<double> bound;
  std::optional<double> fraction;
};

// Something done to a whole matrix by code this folder does not know, such as quantizing it by a method. Its bound is reading
// every weight once.
struct MatrixBenchmark {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  std::function<void(WeightView)> run;
};

// Runs the benchmarks of the kernels, and `more`, whose names match the regular expression (all if empty), calling `done` after each. Empty result: nothing
// matched, or the expression is not one.
std::vector<BenchmarkRow> collect_benchmarks(const std::string& filter, const std::vector<MatrixBenchmark>& more = {},
                                             const std::function<void(const BenchmarkRow&)>& done = {});

// The same with Google Benchmark's own options (--benchmark_filter=REGEX, --benchmark_format=console|json|csv, ...) and output.
// Returns 0, or 1 when nothing matched the filter or an option is unknown.
int run_benchmarks(int argc, char** argv);

}  // namespace sage
