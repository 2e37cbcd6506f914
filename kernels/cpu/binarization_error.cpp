#include "kernels/cpu/binarization_error.h"

#include <bit>
#include <cstddef>
#include <cstdint>

namespace sage::cpu {
namespace {

// Vectors of the compiler's: every x86-64 and AArch64 has units of this width, and the order of additions does not depend on
// how much wider a machine's are.
using Pair [[gnu::vector_size(16)]] = double;
using Bits [[gnu::vector_size(16)]] = int64_t;  // of a Pair; all ones where a comparison holds

Bits bits_of(Pair v) { return std::bit_cast<Bits>(v); }
Pair pair_of(Bits v) { return std::bit_cast<Pair>(v); }
Pair both(double v) { return Pair{v, v}; }
Pair magnitude(Pair v) { return pair_of(bits_of(v) & INT64_MAX); }
Pair where(Bits mask, Pair v) { return pair_of(mask & bits_of(v)); }

// Two sums side by side, so that one addition need not wait for the last.
template <class V>
struct Sum {
  V parts[2] = {};
  auto total() const { return (parts[0][0] + parts[1][0]) + (parts[0][1] + parts[1][1]); }
};

// add(values, valid, part) over pairs of x; valid is 0 for the second of a pair past the end.
template <class Add>
void for_each_pair(std::span<const double> x, Add add) {
  constexpr Bits kAll{-1, -1}, kFirst{-1, 0};
  const double* v = x.data();
  const double* end = v + x.size();
  for (; end - v >= 4; v += 4) {
    add(Pair{v[0], v[1]}, kAll, 0);
    add(Pair{v[2], v[3]}, kAll, 1);
  }
  for (; end - v >= 2; v += 2)
    add(Pair{v[0], v[1]}, kAll, 0);
  if (end - v == 1) add(Pair{v[0], 0.0}, kFirst, 1);
}

double mean_of(std::span<const double> x) {
  Sum<Pair> sum;
  for_each_pair(x, [&](Pair v, Bits, int part) { sum.parts[part] += v; });
  return sum.total() / static_cast<double>(x.size());
}

// One binarization around mu, and what it leaves of a value.
struct Binarized {
  double mu = 0;
  double alpha = 0;   // mean |x - mu|
  double excess = 0;  // how many more x lie above mu than below
  Pair residual(Pair x) const {
    const Pair d = x - both(mu), a = both(alpha);
    return d - where(d > 0, a) + where(d < 0, a);
  }
};

Binarized binarized(std::span<const double> x, double mu) {
  Sum<Pair> abs;
  Sum<Bits> excess;
  for_each_pair(x, [&](Pair v, Bits valid, int part) {
    const Pair d = where(valid, v - both(mu));
    abs.parts[part] += magnitude(d);
    excess.parts[part] += (d < 0) - (d > 0);
  });
  return {mu, abs.total() / static_cast<double>(x.size()), static_cast<double>(excess.total())};
}

// The squared error of binarizing the values before(x) around mu.
template <class Before>
double last_error(std::span<const double> x, double mu, Before before) {
  Sum<Pair> abs, sq;
  Sum<Bits> zeros;
  for_each_pair(x, [&](Pair v, Bits valid, int part) {
    const Pair d = where(valid, before(v) - both(mu));
    abs.parts[part] += magnitude(d);
    sq.parts[part] += d * d;
    zeros.parts[part] -= (d == 0) & valid;
  });
  const double n = static_cast<double>(x.size()), alpha = abs.total() / n, squares = sq.total();
  const double error = squares - (n + static_cast<double>(zeros.total())) * alpha * alpha;
  return error <= 1e-13 * squares ? 0.0 : error;
}

}  // namespace

double binarization_error(std::span<const double> x, BinarizationRule rule) {
  if (x.empty()) return 0;
  const double n = static_cast<double>(x.size()), mu = rule.centered ? mean_of(x) : 0.0;
  if (rule.order == 1) return last_error(x, mu, [](Pair v) { return v; });
  const Binarized first = binarized(x, mu);
  // The deviations from the mean add up to 0, so those of the residual to -alpha times the excess.
  const double error =
      last_error(x, rule.centered ? -first.alpha * first.excess / n : 0.0, [&](Pair v) { return first.residual(v); });
  return error <= 1e-13 * n * first.alpha * first.alpha ? 0.0 : error;
}

}  // namespace sage::cpu
