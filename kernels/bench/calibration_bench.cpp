// Grams of layer inputs, one sequence of 2048 tokens. Bound: OpenBLAS ssyrk with its own threads on the same shape.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

template <class T>
void add(const std::string& name, int64_t cols) {
  const int64_t tokens = sized(2048, 40);
  add_benchmark(fmt::format("calibration/{}/{}x{}", name, tokens, cols), 0.4, [=](benchmark::State& state) {
    const BackendMatrix x = placed(weights(tokens, cols, 1));
    const std::vector<T> zeros(static_cast<size_t>(cols * cols));
    const BackendArray<T> gram(backend(), cols, cols);
    copy<T>(backend(), {zeros.data(), cols, cols}, gram.view());
    const double work = static_cast<double>(tokens) * static_cast<double>(cols * (cols + 1));
    measure(state, Unit::kOperations, work, syrk(tokens, cols),
            [&] { backend().gram_update(x.view(), 0.5, 1.0, gram.view()); });
  });
}

}  // namespace

void register_calibration() {
  for (int64_t cols : {sized(576, 33), sized(1536, 64), sized(4096, 100)})
    add<float>("gram", cols);
  add<double>("gram_fp64", sized(1536, 64));
}

}  // namespace sage::bench
