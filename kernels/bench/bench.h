// Benchmarks of the operations of a backend. Where it computes in host memory, every figure is set against a bound measured in
// turns with it (interleave.h), the best of each: bytes against the machine's stream read rate, floating-point operations
// against OpenBLAS sgemm (ssyrk for Grams) with its own threads on the same shapes (trailing updates: on a square product;
// splits: half of that, for doubles). Of a device no bound is known, and none is stated. There, matrices lie in the device's
// memory before the clock starts, and a repetition ends when the device is done: what is timed is the operation, and the
// transfer of what its interface has in host memory (masks, labels, targets, results). Counters:
//   GB/s, GFLOP/s or Mweights/s   best repetition
//   bound             the rate the work is limited by, same unit
//   fraction          reached / bound
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/backend/backend.h"

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

// Something done to a whole matrix in host memory by code this folder does not know, such as quantizing it by a method. Its
// bound is reading every weight once.
struct MatrixBenchmark {
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  std::function<void(WeightView)> run;
};

struct BenchmarkOptions {
  std::string filter;  // a regular expression on names; empty: all
  bool tiny = false;   // sizes and repetitions that an executor of kernels gets through in seconds; they measure nothing
};

// Runs the benchmarks of the backend's operations, and `more`, calling `done` after each. Empty result: nothing matched the
// filter, or it is not an expression. One call at a time.
std::vector<BenchmarkRow> collect_benchmarks(const Backend& backend, const BenchmarkOptions& options,
                                             const std::vector<MatrixBenchmark>& more = {},
                                             const std::function<void(const BenchmarkRow&)>& done = {});

}  // namespace sage
