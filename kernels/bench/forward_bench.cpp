// The forward pass of a 135M-parameter Llama (hidden 576, 9 heads of 64, 3 key heads, feed-forward 1536, vocabulary 49152) on a
// window of 2048 positions. Bound: OpenBLAS sgemm with its own threads on the shapes of the model's linear layers.
#include <cmath>
#include <vector>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

constexpr int64_t kLength = 2048, kHidden = 576, kKeys = 192, kInner = 1536, kVocabulary = 49152;
constexpr int kHeads = 9, kKeyHeads = 3, kHeadDim = 64;

struct Block {
  Matrix q = weights(kHidden, kHidden, 1), k = weights(kKeys, kHidden, 2), v = weights(kKeys, kHidden, 3),
         o = weights(kHidden, kHidden, 4), gate = weights(kInner, kHidden, 5), up = weights(kInner, kHidden, 6),
         down = weights(kHidden, kInner, 7);
  std::vector<float> gain = std::vector<float>(kHidden, 1.0f);
  RotaryTable rotary;
  AttentionShape shape{kHeads, kKeyHeads, kHeadDim, 0.125f, 0};
  Matrix x = weights(kLength, kHidden, 8), normed{kLength, kHidden}, xq{kLength, kHidden}, xk{kLength, kKeys},
         xv{kLength, kKeys}, mixed{kLength, kHidden}, added{kLength, kHidden}, xg{kLength, kInner}, xu{kLength, kInner};
  Block() {
    rotary.head_dim = kHeadDim;
    for (int i = 0; i < kHeadDim / 2; ++i)
      rotary.inv_freq.push_back(std::pow(100000.0, -2.0 * i / kHeadDim));
  }
  void attend() {
    const Backend& b = backend();
    b.rotary(xq.view(), kHeads, rotary, 0);
    b.rotary(xk.view(), kKeyHeads, rotary, 0);
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

constexpr double product(double t, double m, double n) { return 2.0 * t * m * n; }
constexpr double kLinear = product(kLength, 2 * kHidden + 2 * kKeys + 2 * kInner, kHidden) + product(kLength, kHidden, kInner);
// Both products of attention over the causal half.
constexpr double kAttention = 2.0 * kHeads * kHeadDim * static_cast<double>(kLength) * (kLength + 1);

// Time the linear layers alone would take at sgemm's rate on each shape, turned into one rate.
double linear_bound() {
  double seconds = 0;
  auto take = [&](int64_t m, int64_t n) {
    seconds += product(kLength, static_cast<double>(m), static_cast<double>(n)) / sgemm_rate(kLength, m, n);
  };
  take(kHidden, kHidden);
  take(kHidden, kHidden);
  take(kKeys, kHidden);
  take(kKeys, kHidden);
  take(kInner, kHidden);
  take(kInner, kHidden);
  take(kHidden, kInner);
  return kLinear / seconds;
}

void add(const std::string& name, const std::function<void(benchmark::State&)>& f) {
  benchmark::RegisterBenchmark(name.c_str(), f)
      ->MeasureProcessCPUTime()
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(0.5);
}

void add_linear(int64_t t, int64_t m, int64_t n) {
  add("forward/linear/" + std::to_string(t) + "x" + std::to_string(m) + "x" + std::to_string(n), [=](benchmark::State& state) {
    const Matrix x = weights(t, n, 1), w = weights(m, n, 2);
    Matrix y(t, m);
    measure(state, Unit::kOperations, product(static_cast<double>(t), static_cast<double>(m), static_cast<double>(n)),
            sgemm_rate(t, m, n), [&] { backend().linear(x.view(), w.view(), {}, y.view()); });
  });
}

}  // namespace

void register_forward() {
  add_linear(kLength, kHidden, kHidden);
  add_linear(kLength, kKeys, kHidden);
  add_linear(kLength, kInner, kHidden);
  add_linear(kLength, kHidden, kInner);
  add_linear(512, 4096, 4096);
  add_linear(1, 4096, 4096);
  add("forward/attention/2048x9x64", [](benchmark::State& state) {
    Block b;
    b.run();
    measure(state, Unit::kOperations, kAttention, linear_bound(),
            [&] { backend().attention(b.xq.view(), b.xk.view(), b.xv.view(), b.shape, b.mixed.view()); });
  });
  add("forward/rms_norm/2048x576", [](benchmark::State& state) {
    Block b;
    measure(state, Unit::kBytes, 8.0 * kLength * kHidden, 0,
            [&] { backend().rms_norm(b.x.view(), b.gain, 1e-5f, b.normed.view()); });
  });
  add("forward/silu_mul/2048x1536", [](benchmark::State& state) {
    Block b;
    b.run();
    measure(state, Unit::kBytes, 12.0 * kLength * kInner, 0,
            [&] { backend().silu_mul(b.xg.view(), b.xu.view(), b.xg.view()); });
  });
  add("forward/rotary/2048x9x64", [](benchmark::State& state) {
    Block b;
    b.run();
    measure(state, Unit::kBytes, 8.0 * kLength * kHidden, 0, [&] { backend().rotary(b.xq.view(), kHeads, b.rotary, 0); });
  });
  add("forward/block/linear_and_attention", [](benchmark::State& state) {
    Block b;
    measure(state, Unit::kOperations, kLinear + kAttention, linear_bound(), [&] { b.run(); });
  });
  add("forward/head_nll/2048x49152", [](benchmark::State& state) {
    const Matrix hidden = weights(kLength, kHidden, 1), head = weights(kVocabulary, kHidden, 2);
    std::vector<int32_t> target(kLength, 17);
    std::vector<double> nll(kLength);
    measure(state, Unit::kOperations, product(kLength, kVocabulary, kHidden), sgemm_rate(256, kVocabulary, kHidden),
            [&] { backend().head_nll(hidden.view(), head.view(), target, nll, {}); });
  });
  add("forward/head_divergence/512x49152", [](benchmark::State& state) {
    const Matrix hidden = weights(512, kHidden, 1), other = weights(512, kHidden, 3), head = weights(kVocabulary, kHidden, 2);
    std::vector<double> kl(512);
    std::vector<uint8_t> agree(512);
    measure(state, Unit::kOperations, 2 * product(512, kVocabulary, kHidden), sgemm_rate(256, kVocabulary, kHidden),
            [&] { backend().head_divergence(other.view(), head.view(), hidden.view(), head.view(), kl, agree); });
  });
}

}  // namespace sage::bench
