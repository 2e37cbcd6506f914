// Grams of layer inputs, one sequence of 2048 tokens. Bound: OpenBLAS ssyrk with its own threads on the same shape.
#include <string>
#include <vector>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

constexpr int64_t kTokens = 2048;

template <class T>
void add(const std::string& name, int64_t cols) {
  benchmark::RegisterBenchmark(("calibration/" + name + "/2048x" + std::to_string(cols)).c_str(),
                               [cols](benchmark::State& state) {
                                 const Matrix x = weights(kTokens, cols, 1);
                                 std::vector<T> gram(static_cast<size_t>(cols * cols));
                                 const View<T> view(gram.data(), cols, cols);
                                 const double work = static_cast<double>(kTokens) * static_cast<double>(cols * (cols + 1));
                                 measure(state, Unit::kOperations, work, syrk_rate(kTokens, cols),
                                         [&] { backend().gram_update(x.view(), 0.5, 1.0, view); });
                               })
      ->MeasureProcessCPUTime()
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(0.4);
}

}  // namespace

void register_calibration() {
  for (int64_t cols : {576, 1536, 4096})
    add<float>("gram", cols);
  add<double>("gram_fp64", 1536);
}

}  // namespace sage::bench
