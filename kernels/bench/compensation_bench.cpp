// What GPTQ and its relatives spend their time on besides quantizing: after each block of 128 columns, W[:, rest] -= E U[block,
// rest] for all columns still to come. One repetition is every such update of one square matrix, from the widest to the
// narrowest. Bound: OpenBLAS sgemm with its own threads on a square product of that size, which is as fast as it gets; these
// products are 128 deep and read and write the weights for each.
#include <fmt/format.h>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

void add(int64_t size) {
  add_benchmark(fmt::format("compensation/trailing/{0}x{0}", size), 1.0, [size](benchmark::State& state) {
    const int64_t block = sized(128, 16);
    const BackendMatrix e = placed(weights(size, block, 1)), w = placed(weights(size, size, 3));
    const Held factor(weights(size, size, 2));
    double work = 0;
    for (int64_t last = block; last < size; last += block)
      work += 2.0 * static_cast<double>(size) * static_cast<double>(block) * static_cast<double>(size - last);
    measure(state, Unit::kOperations, work, sgemm(size, size, size), [&] {
      for (int64_t last = block; last < size; last += block)
        backend().subtract_product(e.view(), factor.view().row_range(last - block, last).columns(last, size),
                                   w.view().columns(last, size));
    });
  });
}

}  // namespace

void register_compensation() {
  for (const int64_t size : {sized(2048, 48), sized(4096, 80)})
    add(size);
}

}  // namespace sage::bench
