// What GPTQ and its relatives spend their time on besides quantizing: after each block of 128 columns, W[:, rest] -= E U[block,
// rest] for all columns still to come. One repetition is every such update of one square matrix, from the widest to the
// narrowest. Bound: OpenBLAS sgemm with its own threads on a square product of that size, which is as fast as it gets; these
// products are 128 deep and read and write the weights for each.
#include <string>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

constexpr int64_t kBlock = 128;

void add(int64_t size) {
  const auto run = [size](benchmark::State& state) {
    const Matrix e = weights(size, kBlock, 1), factor = weights(size, size, 2);
    Matrix w = weights(size, size, 3);
    double work = 0;
    for (int64_t last = kBlock; last < size; last += kBlock)
      work += 2.0 * static_cast<double>(size) * kBlock * static_cast<double>(size - last);
    measure(state, Unit::kOperations, work, sgemm_rate(size, size, size), [&] {
      for (int64_t last = kBlock; last < size; last += kBlock)
        backend().subtract_product(e.view(), factor.view().row_range(last - kBlock, last).columns(last, size),
                                   w.view().columns(last, size));
    });
  };
  const std::string name = "compensation/trailing/" + std::to_string(size) + "x" + std::to_string(size);
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->MeasureProcessCPUTime()
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(1.0);
}

}  // namespace

void register_compensation() {
  for (const int64_t size : {2048, 4096})
    add(size);
}

}  // namespace sage::bench
