// The forward pass of a 135M-parameter Llama (hidden 576, 9 heads of 64, 3 key heads, feed-forward 1536, vocabulary 49152) on a
// window of 2048 positions. Bound: OpenBLAS sgemm with its own threads on the shapes of the model's linear layers.
#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

struct Sizes {
  int64_t length = sized(2048, 32), heads = sized(9, 2), key_heads = sized(3, 1), head_dim = sized(64, 16);
  int64_t hidden = heads * head_dim, keys = key_heads * head_dim, inner = sized(1536, 48), vocabulary = sized(49152, 200);
};

struct Block : Sizes {
  Held q{weights(hidden, hidden, 1)}, k{weights(keys, hidden, 2)}, v{weights(keys, hidden, 3)}, o{weights(hidden, hidden, 4)},
      gate{weights(inner, hidden, 5)}, up{weights(inner, hidden, 6)}, down{weights(hidden, inner, 7)};
  std::vector<float> gain = std::vector<float>(static_cast<size_t>(hidden), 1.0f);
  HeldMemory held_gain = hold(backend(), gain);
  RotaryTable rotary;
  AttentionShape shape{static_cast<int>(heads), static_cast<int>(key_heads), static_cast<int>(head_dim),
                       1 / std::sqrt(static_cast<float>(head_dim)), 0};
  BackendMatrix x = placed(weights(length, hidden, 8)), normed = empty(hidden), xq = empty(hidden), xk = empty(keys),
                xv = empty(keys), mixed = empty(hidden), added = empty(hidden), xg = empty(inner), xu = empty(inner);
  Block() {
    rotary.head_dim = static_cast<int>(head_dim);
    for (int64_t i = 0; i < head_dim / 2; ++i)
      rotary.inv_freq.push_back(std::pow(100000.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  }
  BackendMatrix empty(int64_t cols) const { return {backend(), length, cols}; }
  void attend() {
    const Backend& b = backend();
    b.rotary(xq.view(), shape.heads, rotary, 0);
    b.rotary(xk.view(), shape.kv_heads, rotary, 0);
    b.attention(xq.view(), xk.view(), xv.view(), shape, mixed.view());
  }
  void run() {
    const Backend& b = backend();
    b.rms_norm(x.view(), gain, 1e-5f, normed.view());
    b.linear(normed.view(), q.view(), {}, xq.view());
    b.linear(normed.view(), k.view(), {}, xk.view());
    b.linear(normed.view(), v.view(), {}, xv.view());
    attend();
    b.linear(mixed.view(), o.view(), {}, added.view());
    b.add(x.view(), added.view());
    b.rms_norm(x.view(), gain, 1e-5f, normed.view());
    b.linear(normed.view(), gate.view(), {}, xg.view());
    b.linear(normed.view(), up.view(), {}, xu.view());
    b.silu_mul(xg.view(), xu.view(), xg.view());
    b.linear(xg.view(), down.view(), {}, added.view());
    b.add(x.view(), added.view());
  }
};

// Operations of y[t x m] = x[t x n] w[m x n]^T.
double product(int64_t t, int64_t m, int64_t n) {
  return 2.0 * static_cast<double>(t) * static_cast<double>(m) * static_cast<double>(n);
}
double linear_operations(const Sizes& s) {
  return product(s.length, 2 * s.hidden + 2 * s.keys + 2 * s.inner, s.hidden) + product(s.length, s.hidden, s.inner);
}
// Both products of attention over the causal half.
double attention_operations(const Sizes& s) { return product(s.length, s.hidden, s.length + 1); }

// The linear layers alone, at sgemm's rate on each shape.
Bound linear_bound(const Sizes& s) {
  const Bound own = sgemm(s.length, s.hidden, s.hidden), keys = sgemm(s.length, s.keys, s.hidden),
              up = sgemm(s.length, s.inner, s.hidden), down = sgemm(s.length, s.hidden, s.inner);
  return one_after_the_other({own, own, keys, keys, up, up, down});
}

void add(const std::string& name, const std::function<void(benchmark::State&)>& run) {
  add_benchmark("forward/" + name, 0.5, run);
}

void add_linear(int64_t t, int64_t m, int64_t n) {
  add(fmt::format("linear/{}x{}x{}", t, m, n), [=](benchmark::State& state) {
    const BackendMatrix x = placed(weights(t, n, 1)), y(backend(), t, m);
    const Held w(weights(m, n, 2));
    measure(state, Unit::kOperations, product(t, m, n), sgemm(t, m, n),
            [&] { backend().linear(x.view(), w.view(), {}, y.view()); });
  });
}

// Bytes of `matrices` matrices of cols columns, a row per position.
double bytes(const Sizes& s, int matrices, int64_t cols) {
  return static_cast<double>(sizeof(float)) * matrices * static_cast<double>(s.length * cols);
}

}  // namespace

void register_forward() {
  const Sizes s;
  add_linear(s.length, s.hidden, s.hidden);
  add_linear(s.length, s.keys, s.hidden);
  add_linear(s.length, s.inner, s.hidden);
  add_linear(s.length, s.hidden, s.inner);
  add_linear(sized(512, 20), sized(4096, 64), sized(4096, 64));
  add_linear(1, sized(4096, 64), sized(4096, 64));
  const std::string heads = fmt::format("{}x{}x{}", s.length, s.heads, s.head_dim);
  add("attention/" + heads, [s](benchmark::State& state) {
    Block b;
    b.run();
    measure(state, Unit::kOperations, attention_operations(s), linear_bound(s),
            [&] { backend().attention(b.xq.view(), b.xk.view(), b.xv.view(), b.shape, b.mixed.view()); });
  });
  add(fmt::format("rms_norm/{}x{}", s.length, s.hidden), [s](benchmark::State& state) {
    Block b;
    measure(state, Unit::kBytes, bytes(s, 2, s.hidden), {},
            [&] { backend().rms_norm(b.x.view(), b.gain, 1e-5f, b.normed.view()); });
  });
  add(fmt::format("silu_mul/{}x{}", s.length, s.inner), [s](benchmark::State& state) {
    Block b;
    b.run();
    measure(state, Unit::kBytes, bytes(s, 3, s.inner), {}, [&] { backend().silu_mul(b.xg.view(), b.xu.view(), b.xg.view()); });
  });
  add("rotary/" + heads, [s](benchmark::State& state) {
    Block b;
    b.run();
    measure(state, Unit::kBytes, bytes(s, 2, s.hidden), {}, [&] { backend().rotary(b.xq.view(), b.shape.heads, b.rotary, 0); });
  });
  add("block/linear_and_attention", [s](benchmark::State& state) {
    Block b;
    measure(state, Unit::kOperations, linear_operations(s) + attention_operations(s), linear_bound(s), [&] { b.run(); });
  });
  add(fmt::format("head_nll/{}x{}", s.length, s.vocabulary), [s](benchmark::State& state) {
    const BackendMatrix hidden = placed(weights(s.length, s.hidden, 1));
    const Held head(weights(s.vocabulary, s.hidden, 2));
    const std::vector<int32_t> target(static_cast<size_t>(s.length), 17);
    std::vector<double> nll(target.size());
    measure(state, Unit::kOperations, product(s.length, s.vocabulary, s.hidden), sgemm(256, s.vocabulary, s.hidden),
            [&] { backend().head_nll(hidden.view(), head.view(), target, nll, {}); });
  });
  const int64_t rows = sized(512, 16);
  add(fmt::format("head_divergence/{}x{}", rows, s.vocabulary), [s, rows](benchmark::State& state) {
    const BackendMatrix hidden = placed(weights(rows, s.hidden, 1)), other = placed(weights(rows, s.hidden, 3));
    const Held head(weights(s.vocabulary, s.hidden, 2));
    std::vector<double> kl(static_cast<size_t>(rows));
    std::vector<uint8_t> agree(kl.size());
    measure(state, Unit::kOperations, 2 * product(rows, s.vocabulary, s.hidden), sgemm(256, s.vocabulary, s.hidden),
            [&] { backend().head_divergence(other.view(), head.view(), hidden.view(), head.view(), kl, agree); });
  });
}

}  // namespace sage::bench
