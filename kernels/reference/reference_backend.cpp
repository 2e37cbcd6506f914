#include "kernels/reference/reference_backend.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/reference/quantization.h"
#include "kernels/shapes.h"

namespace sage {
namespace {

constexpr uint32_t kMagnitudeBits = 0x7fffffffu;
constexpr uint32_t kInfinityBits = 0x7f800000u;
constexpr double kHalfRoot = 0.70710678118654752440;  // sqrt(1/2)

void add_to(Moments& m, double w) {
  ++m.count;
  m.sum += w;
  m.abs_sum += std::fabs(w);
  m.sq_sum += w * w;
}

double dot(const float* a, const float* b, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i)
    s += static_cast<double>(a[i]) * b[i];
  return s;
}

class ReferenceBackend final : public Backend, public BlockCoder {
 public:
  std::string name() const override { return "reference"; }
  std::string description() const override { return "plain loops, double sums, 1 thread"; }

  MatrixStats matrix_stats(WeightView w) const override {
    MatrixStats s;
    float low = std::numeric_limits<float>::infinity(), high = -low;
    for (int64_t i = 0; i < w.rows; ++i) {
      for (int64_t j = 0; j < w.cols; ++j) {
        const float x = w(i, j);
        if (!std::isfinite(x)) {
          ++s.nonfinite;
          continue;
        }
        add_to(s.moments, x);
        low = std::min(low, x);
        high = std::max(high, x);
      }
    }
    if (s.moments.count > 0) {
      s.min = low;
      s.max = high;
    }
    return s;
  }

  float deviation_order_statistic(WeightView w, float center, int64_t k) const override {
    shapes::order_statistic(w, k);
    // Bit patterns of magnitudes are ordered like the magnitudes, and give NaN a place (last).
    std::vector<uint32_t> bits;
    bits.reserve(static_cast<size_t>(w.size()));
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.cols; ++j)
        bits.push_back(std::bit_cast<uint32_t>(w(i, j) - center) & kMagnitudeBits);
    std::nth_element(bits.begin(), bits.begin() + k, bits.end());
    return std::bit_cast<float>(bits[static_cast<size_t>(k)]);
  }

  BitMask deviation_above(WeightView w, float center, float threshold) const override {
    BitMask out(w.rows, w.cols);
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.cols; ++j)
        if (std::fabs(w(i, j) - center) > threshold) out.set(i, j);
    return out;
  }

  void row_sq_sums(WeightView w, std::span<double> out) const override {
    shapes::sq_sums(w.rows, out, "row_sq_sums");
    for (int64_t i = 0; i < w.rows; ++i)
      out[static_cast<size_t>(i)] = dot(w.row(i), w.row(i), w.cols);
  }

  void column_sq_sums(WeightView w, std::span<double> out) const override {
    shapes::sq_sums(w.cols, out, "column_sq_sums");
    std::fill(out.begin(), out.end(), 0.0);
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.cols; ++j)
        out[static_cast<size_t>(j)] += static_cast<double>(w(i, j)) * w(i, j);
  }

  MagnitudeHistogram magnitude_histogram(WeightView w, const Selection& own, int shift) const override {
    shapes::histogram(w, own, shift);
    MagnitudeHistogram h;
    h.shift = shift;
    const size_t bins = kInfinityBits >> shift;
    h.count.assign(bins, 0);
    h.sum.assign(bins, 0);
    h.sq_sum.assign(bins, 0);
    for (int64_t i = 0; i < w.rows; ++i) {
      for (int64_t j = 0; j < w.cols; ++j) {
        const uint32_t bits = std::bit_cast<uint32_t>(w(i, j)) & kMagnitudeBits;
        if (!own.owns(i, j) || bits >= kInfinityBits) continue;
        const size_t b = bits >> shift;
        const double a = std::bit_cast<float>(bits);
        ++h.count[b];
        h.sum[b] += a;
        h.sq_sum[b] += a * a;
      }
    }
    return h;
  }

  void assign_by_magnitude(WeightView w, std::span<const float> cuts, uint8_t* out) const override {
    shapes::cuts(cuts);
    for (int64_t i = 0; i < w.rows; ++i) {
      for (int64_t j = 0; j < w.cols; ++j) {
        const float a = std::fabs(w(i, j));
        uint8_t n = 0;
        for (float c : cuts)
          n = static_cast<uint8_t>(n + (c <= a ? 1 : 0));
        out[i * w.cols + j] = n;
      }
    }
  }

  void group_moments(WeightView w, const Selection& own, const GroupMap& groups, std::span<Moments> out) const override {
    shapes::group_moments(w, own, groups, out);
    for (uint8_t e : groups.element)
      shapes::require(e < groups.groups, "group_moments", shapes::kLabelRule);
    std::fill(out.begin(), out.end(), Moments{});
    for (int64_t i = 0; i < w.rows; ++i)
      for (int64_t j = 0; j < w.cols; ++j)
        if (own.owns(i, j)) add_to(out[groups.at(i, j)], w(i, j));
  }

  void unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                    std::span<Moments> out) const override {
    reference::unit_moments(w, own, units, center, out);
  }
  double residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                           std::span<ResidualLevels> levels) const override {
    return reference::residual_binarize(w, own, units, rule, levels);
  }
  void split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors,
                    std::span<int64_t> upper_count) const override {
    reference::split_errors(x, trials, errors, upper_count);
  }
  const BlockCoder* block_coder() const override { return this; }
  void code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols,
                  View<float> error) const override {
    reference::code_block(block, w, decoded, symbols, error);
  }

  double squared_distance(WeightView a, WeightView b) const override {
    shapes::require(shapes::same(a, b), "squared_distance", "two matrices of one shape");
    double s = 0;
    for (int64_t i = 0; i < a.rows; ++i) {
      for (int64_t j = 0; j < a.cols; ++j) {
        const double d = static_cast<double>(a(i, j)) - b(i, j);
        s += d * d;
      }
    }
    return s;
  }

  void hadamard_rows(View<float> w) const override {
    shapes::hadamard(w);
    const double scale = 1.0 / std::sqrt(static_cast<double>(w.cols));
    std::vector<double> x(static_cast<size_t>(w.cols));
    for (int64_t i = 0; i < w.rows; ++i) {
      std::copy(w.row(i), w.row(i) + w.cols, x.begin());
      for (size_t h = 1; h < x.size(); h *= 2) {
        for (size_t j = 0; j < x.size(); ++j) {
          if (j & h) continue;
          const double a = x[j], b = x[j + h];
          x[j] = a + b;
          x[j + h] = a - b;
        }
      }
      for (int64_t j = 0; j < w.cols; ++j)
        w(i, j) = static_cast<float>(x[static_cast<size_t>(j)] * scale);
    }
  }

  void linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const override {
    shapes::linear(x, w, bias, y);
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t o = 0; o < w.rows; ++o)
        y(t, o) = static_cast<float>(dot(x.row(t), w.row(o), x.cols) + (bias.empty() ? 0.0 : bias[static_cast<size_t>(o)]));
  }

  void rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const override {
    shapes::norm(x, gamma, y, "rms_norm");
    for (int64_t t = 0; t < x.rows; ++t) {
      const double mean_sq = dot(x.row(t), x.row(t), x.cols) / static_cast<double>(x.cols);
      const double scale = 1.0 / std::sqrt(mean_sq + eps);
      for (int64_t j = 0; j < x.cols; ++j)
        y(t, j) = static_cast<float>(x(t, j) * scale * gamma[static_cast<size_t>(j)]);
    }
  }

  void layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps,
                  View<float> y) const override {
    shapes::norm(x, gamma, y, "layer_norm");
    shapes::norm(x, beta, y, "layer_norm");
    for (int64_t t = 0; t < x.rows; ++t) {
      double sum = 0, sq = 0;
      for (int64_t j = 0; j < x.cols; ++j)
        sum += x(t, j);
      const double mean = sum / static_cast<double>(x.cols);
      for (int64_t j = 0; j < x.cols; ++j)
        sq += (x(t, j) - mean) * (x(t, j) - mean);
      const double scale = 1.0 / std::sqrt(sq / static_cast<double>(x.cols) + eps);
      for (int64_t j = 0; j < x.cols; ++j) {
        const auto c = static_cast<size_t>(j);
        y(t, j) = static_cast<float>((x(t, j) - mean) * scale * gamma[c] + beta[c]);
      }
    }
  }

  void rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const override {
    shapes::rotary(x, heads, table);
    const int half = table.head_dim / 2;
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int i = 0; i < half; ++i) {
        // The angle is an FP32 product, as in the models' own code: at position 2000 the rounding is visible in the logits.
        const float angle = static_cast<float>(first_position + t) * static_cast<float>(table.inv_freq[static_cast<size_t>(i)]);
        const double c = std::cos(static_cast<double>(angle)) * table.attention_factor;
        const double s = std::sin(static_cast<double>(angle)) * table.attention_factor;
        for (int h = 0; h < heads; ++h) {
          float* v = x.row(t) + int64_t{h} * table.head_dim;
          const double a = v[i], b = v[i + half];
          v[i] = static_cast<float>(a * c - b * s);
          v[i + half] = static_cast<float>(b * c + a * s);
        }
      }
    }
  }

  void attention(WeightView q, WeightView k, WeightView v, const AttentionShape& s, View<float> out) const override {
    shapes::attention(q, k, v, s, out);
    const int per_kv = s.heads / s.kv_heads;
    std::vector<double> p(static_cast<size_t>(q.rows)), sum(static_cast<size_t>(s.head_dim));
    for (int h = 0; h < s.heads; ++h) {
      const int64_t qc = int64_t{h} * s.head_dim, kc = int64_t{h / per_kv} * s.head_dim;
      for (int64_t t = 0; t < q.rows; ++t) {
        const int64_t first = s.window > 0 ? std::max<int64_t>(0, t + 1 - s.window) : 0;
        double largest = -std::numeric_limits<double>::infinity();
        for (int64_t u = first; u <= t; ++u) {
          p[static_cast<size_t>(u)] = dot(q.row(t) + qc, k.row(u) + kc, s.head_dim) * s.scale;
          largest = std::max(largest, p[static_cast<size_t>(u)]);
        }
        double total = 0;
        std::fill(sum.begin(), sum.end(), 0.0);
        for (int64_t u = first; u <= t; ++u) {
          const double e = std::exp(p[static_cast<size_t>(u)] - largest);
          total += e;
          for (int d = 0; d < s.head_dim; ++d)
            sum[static_cast<size_t>(d)] += e * v(u, kc + d);
        }
        for (int d = 0; d < s.head_dim; ++d)
          out(t, qc + d) = static_cast<float>(sum[static_cast<size_t>(d)] / total);
      }
    }
  }

  void silu_mul(WeightView gate, WeightView up, View<float> out) const override {
    shapes::require(shapes::same(gate, up) && shapes::same(gate, out), "silu_mul", "three matrices of one shape");
    for (int64_t t = 0; t < gate.rows; ++t) {
      for (int64_t j = 0; j < gate.cols; ++j) {
        const double g = gate(t, j);
        out(t, j) = static_cast<float>(g / (1.0 + std::exp(-g)) * up(t, j));
      }
    }
  }

  void relu(View<float> x) const override {
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t j = 0; j < x.cols; ++j)
        if (x(t, j) < 0) x(t, j) = 0;
  }

  void gelu(View<float> x) const override {
    for (int64_t t = 0; t < x.rows; ++t) {
      for (int64_t j = 0; j < x.cols; ++j) {
        const double v = x(t, j), above = std::erfc(std::fabs(v) * kHalfRoot) / 2;  // 1 - Phi(|v|)
        x(t, j) = static_cast<float>(std::max(v, 0.0) - (above == 0 ? 0 : std::fabs(v) * above));
      }
    }
  }

  void add(View<float> x, WeightView y) const override {
    shapes::require(shapes::same(x, y), "add", "two matrices of one shape");
    for (int64_t t = 0; t < x.rows; ++t)
      for (int64_t j = 0; j < x.cols; ++j)
        x(t, j) += y(t, j);
  }

  void gram_update(WeightView x, double keep, double weight, View<float> gram) const override {
    update_gram(x, keep, weight, gram);
  }
  void gram_update(WeightView x, double keep, double weight, View<double> gram) const override {
    update_gram(x, keep, weight, gram);
  }

  void subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const override {
    shapes::outer(u, e, x);
    for (int64_t i = 0; i < x.rows; ++i)
      for (int64_t j = 0; j < x.cols; ++j)
        x(i, j) -= u[static_cast<size_t>(i)] * e[static_cast<size_t>(j)];
  }
  void subtract_product(WeightView a, WeightView b, View<float> x) const override {
    shapes::product(a, b, x);
    for (int64_t i = 0; i < x.rows; ++i)
      for (int64_t j = 0; j < x.cols; ++j) {
        double sum = 0;
        for (int64_t k = 0; k < a.cols; ++k)
          sum += static_cast<double>(a(i, k)) * b(k, j);
        x(i, j) = static_cast<float>(x(i, j) - sum);
      }
  }

  void head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                std::span<int32_t> top1) const override {
    shapes::head(hidden, head, static_cast<int64_t>(nll.size()), "head_nll");
    shapes::targets(target, hidden.rows, head.rows);
    shapes::require(top1.empty() || top1.size() == nll.size(), "head_nll", "an empty top1 or one per position");
    std::vector<double> logit(static_cast<size_t>(head.rows));
    for (int64_t t = 0; t < hidden.rows; ++t) {
      const auto s = static_cast<size_t>(t);
      if (target[s] < 0 && top1.empty()) {
        nll[s] = 0;
        continue;
      }
      const Softmax soft = logits(hidden.row(t), head, logit);
      nll[s] = target[s] < 0 ? 0.0 : soft.log_sum - logit[static_cast<size_t>(target[s])];
      if (!top1.empty()) top1[s] = soft.top;
    }
  }

  void head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head, std::span<double> kl,
                       std::span<uint8_t> agree, std::span<const int32_t> target, std::span<double> nll) const override {
    shapes::divergence(hidden_ref, head_ref, hidden, head, kl, agree, target, nll);
    std::vector<double> a(static_cast<size_t>(head.rows)), b(a.size());
    for (int64_t t = 0; t < hidden.rows; ++t) {
      const Softmax ref = logits(hidden_ref.row(t), head_ref, a), own = logits(hidden.row(t), head, b);
      double sum = 0;
      for (size_t i = 0; i < a.size(); ++i) {
        const double log_p = a[i] - ref.log_sum;
        sum += std::exp(log_p) * (log_p - (b[i] - own.log_sum));
      }
      kl[static_cast<size_t>(t)] = sum;
      const auto s = static_cast<size_t>(t);
      agree[s] = ref.top == own.top ? 1 : 0;
      if (!target.empty()) nll[s] = target[s] < 0 ? 0.0 : own.log_sum - b[static_cast<size_t>(target[s])];
    }
  }

 private:
  template <class T>
  static void update_gram(WeightView x, double keep, double weight, View<T> gram) {
    shapes::gram_update(x, gram);
    std::vector<double> sum(static_cast<size_t>(x.cols));
    for (int64_t i = 0; i < x.cols; ++i) {
      std::fill(sum.begin(), sum.end(), 0.0);
      for (int64_t t = 0; t < x.rows; ++t)
        for (int64_t j = i; j < x.cols; ++j)
          sum[static_cast<size_t>(j)] += static_cast<double>(x(t, i)) * x(t, j);
      for (int64_t j = i; j < x.cols; ++j) {
        const double before = keep == 0 ? 0.0 : keep * static_cast<double>(gram(i, j));
        gram(i, j) = static_cast<T>(before + weight * sum[static_cast<size_t>(j)]);
      }
    }
  }
  struct Softmax {
    double log_sum;  // log sum exp of the logits
    int32_t top;
  };
  static Softmax logits(const float* hidden, WeightView head, std::vector<double>& out) {
    for (int64_t i = 0; i < head.rows; ++i)
      out[static_cast<size_t>(i)] = dot(hidden, head.row(i), head.cols);
    const auto top = std::max_element(out.begin(), out.end());
    double sum = 0;
    for (double l : out)
      sum += std::exp(l - *top);
    return {*top + std::log(sum), static_cast<int32_t>(top - out.begin())};
  }
};

}  // namespace

std::unique_ptr<Backend> make_reference_backend() { return std::make_unique<ReferenceBackend>(); }

}  // namespace sage
