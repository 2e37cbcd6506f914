// Benchmarks of the kernels. Every figure is set against a bound measured in the same run: bytes against the machine's stream
// read rate, floating-point operations against OpenBLAS sgemm with its own threads on the same shapes. Counters:
//   GB/s or GFLOP/s   best repetition
//   bound             the rate the work is limited by, same unit
//   fraction          reached / bound
#pragma once

namespace sage {

// Takes Google Benchmark's own options (--benchmark_filter=REGEX, --benchmark_format=console|json|csv, ...). Returns 0, or 1 when
// nothing matched the filter or an option is unknown.
int run_benchmarks(int argc, char** argv);

}  // namespace sage
