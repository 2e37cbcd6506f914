// The kernels, written over the 16-lane types of the simd_*.h that SAGE_SIMD_TYPES names. Compiled once per instruction set.
//
// Nothing from std:: that could become a shared inline function is used here: the linker would be free to keep the copy that
// was compiled for the newest instruction set, and an older machine would stop on it.
#include "kernels/cpu/kernels.h"
#include SAGE_SIMD_TYPES

namespace sage::cpu::SAGE_SIMD {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The ownership bits of elements [bit, bit + 16); the word after the last is readable.
inline Mask16 owned_bits(const uint64_t* own, int64_t bit) {
  const int64_t word = bit >> 6;
  const int shift = static_cast<int>(bit & 63);
  const uint64_t low = own[word] >> shift;
  return static_cast<Mask16>(shift > 48 ? low | own[word + 1] << (64 - shift) : low);
}

// Loads elements [j, j + 16) of a row of n; lanes past the end are 0 and `valid` tells which are real.
inline F16 load_tail(const float* w, int64_t j, int64_t n, Mask16& valid) {
  if (n - j >= 16) {
    valid = 0xffff;
    return load(w + j);
  }
  const int left = static_cast<int>(n - j);
  valid = static_cast<Mask16>((1u << left) - 1u);
  return load_first(w + j, left);
}

inline void store_tail(float* y, int64_t j, int64_t n, F16 x) {
  if (n - j >= 16) {
    store(y + j, x);
  } else {
    store_first(y + j, x, static_cast<int>(n - j));
  }
}

// e^x, relative error below 2e-7; 0 below -87.3 (the smallest normal number); NaN stays NaN.
inline F16 exponential(F16 x) {
  const F16 low = set(-87.3365f);
  const Mask16 vanishing = greater(low, x);
  x = min(set(88.3762f), max(low, x));
  const F16 n = round(x * set(1.44269504f));
  // ln 2 in two parts: the first has few enough bits that n times it is exact.
  const F16 r = fma(n, set(2.12194440e-4f), fma(n, set(-0.693359375f), x));
  F16 p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  p = fma(p, r * r, r) + set(1.0f);
  return select(vanishing, set(0.0f), times_power_of_two(p, n));
}

inline double fold(D16 x) {
  alignas(64) double v[16];
  store(v, x);
  for (int step = 8; step > 0; step /= 2)
    for (int l = 0; l < step; ++l)
      v[l] += v[l + step];
  return v[0];
}

// --- statistics and quantization -------------------------------------------------------------------------------------------

static void stats(const float* w, int64_t n, LaneStats* s) {
  D16 sum = load(s->sums.sum), abs_sum = load(s->sums.abs_sum), sq_sum = load(s->sums.sq_sum);
  F16 low = load(s->min), high = load(s->max);
  int64_t count = 0;
  const F16 limit = set(__builtin_inff());
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    F16 x = load_tail(w, j, n, valid);
    const auto finite = static_cast<Mask16>(greater(limit, abs(x)) & valid);
    x = keep(x, finite);
    count += __builtin_popcount(finite);
    low = select(finite, min(x, low), low);
    high = select(finite, max(x, high), high);
    const D16 d = widen(x);
    sum = sum + d;
    abs_sum = abs_sum + abs(d);
    sq_sum = add_square(d, sq_sum);
  }
  store(s->sums.sum, sum);
  store(s->sums.abs_sum, abs_sum);
  store(s->sums.sq_sum, sq_sum);
  store(s->min, low);
  store(s->max, high);
  s->sums.count += count;
  s->nonfinite += n - count;
}

static void moments(const float* w, int64_t n, const uint64_t* own, int64_t first_bit, LaneSums* s) {
  D16 sum = load(s->sum), abs_sum = load(s->abs_sum), sq_sum = load(s->sq_sum);
  int64_t count = 0;
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    F16 x = load_tail(w, j, n, valid);
    const auto owned = static_cast<Mask16>(owned_bits(own, first_bit + j) & valid);
    const D16 d = widen(keep(x, owned));
    count += __builtin_popcount(owned);
    sum = sum + d;
    abs_sum = abs_sum + abs(d);
    sq_sum = add_square(d, sq_sum);
  }
  store(s->sum, sum);
  store(s->abs_sum, abs_sum);
  store(s->sq_sum, sq_sum);
  s->count += count;
}

static void label_moments(const float* w, int64_t n, const uint64_t* own, const uint8_t* label, LabelTable& table,
                          int64_t* unowned_per_label) {
  alignas(64) float masked[64];
  double* entries = &table[0][0].sum;
  for (int64_t first = 0; first < n; first += 64) {
    const int64_t size = smaller(64, n - first);
    const uint64_t all = size == 64 ? ~uint64_t{0} : (uint64_t{1} << size) - 1;
    const uint64_t owned = own[first >> 6] & all;
    const float* x = w + first;
    const uint8_t* l = label + first;
    // Unowned weights are added as zeros and their number is taken off later: one loop without branches.
    if (owned != all) {
      for (int64_t j = 0; j < size; j += 16) {
        Mask16 valid;
        const F16 v = load_tail(x, j, size, valid);
        store(masked + j, keep(v, static_cast<Mask16>(owned >> j & valid)));
      }
      x = masked;
      for (uint64_t rest = ~owned & all; rest != 0; rest &= rest - 1)
        ++unowned_per_label[l[__builtin_ctzll(rest)]];
    }
    int64_t j = 0;
    for (; j + 8 <= size; j += 8)
      for (int c = 0; c < 8; ++c)
        add_to_entry(entries + (int64_t{l[j + c]} * kTableCopies + c) * 4, x[j + c]);
    for (; j < size; ++j)
      add_to_entry(entries + (int64_t{l[j]} * kTableCopies + (j & 7)) * 4, x[j]);
  }
}

static void squares(const float* w, int64_t n, double* lanes) {
  D16 sum = load(lanes);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    sum = add_square(widen(load_tail(w, j, n, valid)), sum);
  }
  store(lanes, sum);
}

static void column_squares(const float* w, int64_t n, double* out) {
  int64_t j = 0;
  for (; j + 16 <= n; j += 16)
    store(out + j, add_square(widen(load(w + j)), load(out + j)));
  for (; j < n; ++j)
    out[j] += static_cast<double>(w[j]) * static_cast<double>(w[j]);
}

static void column_moments(const float* w, int64_t n, const uint64_t* own, double* sum, double* abs_sum, double* sq_sum,
                           double* count) {
  const F16 one = set(1.0f);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 x = load_tail(w, j, n, valid);
    const auto owned = static_cast<Mask16>(owned_bits(own, j) & valid);
    const D16 d = widen(keep(x, owned));
    store(sum + j, load(sum + j) + d);
    store(abs_sum + j, load(abs_sum + j) + abs(d));
    store(sq_sum + j, add_square(d, load(sq_sum + j)));
    store(count + j, load(count + j) + widen(keep(one, owned)));
  }
}

static void squared_distance(const float* a, const float* b, int64_t n, double* lanes) {
  D16 sum = load(lanes);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const D16 d = widen(load_tail(a, j, n, valid)) - widen(load_tail(b, j, n, valid));
    sum = sum + d * d;  // not fused: the difference has no exact square
  }
  store(lanes, sum);
}

static void deviation_high(const float* w, int64_t n, float center, uint64_t* histogram) {
  // Patterns wait in a buffer: scalar loads right behind a vector store cost several times the increment.
  constexpr int64_t kBuffer = 512;
  alignas(64) uint32_t bin[kBuffer];
  const F16 c = set(center);
  for (int64_t first = 0; first < n; first += kBuffer) {
    const int64_t size = smaller(kBuffer, n - first);
    for (int64_t j = 0; j < size; j += 16) {
      Mask16 valid;
      store(bin + j, shift_right<16>(bits(abs(load_tail(w + first, j, size, valid) - c))));
    }
    for (int64_t j = 0; j < size; ++j)
      ++histogram[bin[j]];
  }
}

static void deviation_low(const float* w, int64_t n, float center, uint32_t high, uint64_t* histogram) {
  alignas(64) uint32_t pattern[16];
  const F16 c = set(center);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const I16 p = bits(abs(load_tail(w, j, n, valid) - c));
    uint32_t hit = equal(shift_right<16>(p), high) & valid;
    if (hit == 0) continue;
    store(pattern, p);
    for (; hit != 0; hit &= hit - 1)
      ++histogram[pattern[__builtin_ctz(hit)] & 0xffffu];
  }
}

static void above(const float* w, int64_t n, float center, float threshold, uint64_t* words) {
  const F16 c = set(center), t = set(threshold);
  for (int64_t first = 0; first < n; first += 64) {
    uint64_t word = 0;
    for (int64_t j = first; j < smaller(n, first + 64); j += 16) {
      Mask16 valid;
      const F16 x = load_tail(w, j, n, valid);
      word |= static_cast<uint64_t>(greater(abs(x - c), t) & valid) << (j - first);
    }
    words[first >> 6] = word;
  }
}

static void magnitude_bins(const float* w, int64_t n, const uint64_t* own, int shift, PackedBin* bins) {
  alignas(64) uint32_t pattern[64];
  const uint32_t low_mask = (uint32_t{1} << shift) - 1;
  const uint64_t one = uint64_t{1} << kPackedCountShift;
  for (int64_t first = 0; first < n; first += 64) {
    const int64_t size = smaller(64, n - first);
    const uint64_t all = size == 64 ? ~uint64_t{0} : (uint64_t{1} << size) - 1;
    const uint64_t owned = own[first >> 6] & all;
    for (int64_t j = 0; j < size; j += 16) {
      Mask16 valid;
      store(pattern + j, bits(abs(load_tail(w + first, j, size, valid))));
    }
    if (owned == ~uint64_t{0}) {
      for (int j = 0; j < 64; ++j) {
        const uint64_t low = pattern[j] & low_mask;
        add_pair(&bins[pattern[j] >> shift].count_and_low, one + low, low * low);
      }
    } else {
      for (uint64_t rest = owned; rest != 0; rest &= rest - 1) {
        const uint32_t p = pattern[__builtin_ctzll(rest)];
        const uint64_t low = p & low_mask;
        add_pair(&bins[p >> shift].count_and_low, one + low, low * low);
      }
    }
  }
}

static void assign(const float* w, int64_t n, const float* cuts, int cut_count, uint8_t* out) {
  constexpr int kLinearSearch = 24;  // beyond it, halving is quicker than comparing with every cut
  if (cut_count > kLinearSearch) {
    for (int64_t j = 0; j < n; ++j) {
      const float a = __builtin_fabsf(w[j]);
      int first = 0, length = cut_count;
      while (length > 0) {
        const int half = length / 2;
        const bool right = cuts[first + half] <= a;
        first = right ? first + half + 1 : first;
        length = right ? length - half - 1 : half;
      }
      out[j] = static_cast<uint8_t>(first);
    }
    return;
  }
  int64_t j = 0;
  for (; j + 16 <= n; j += 16) {
    const F16 a = abs(load(w + j));
    Count16 count;
    for (int c = 0; c < cut_count; ++c)
      count_at_least(count, a, set(cuts[c]));
    store(out + j, count);
  }
  if (j < n) {
    alignas(16) uint8_t tail[16];
    const F16 a = abs(load_first(w + j, static_cast<int>(n - j)));
    Count16 count;
    for (int c = 0; c < cut_count; ++c)
      count_at_least(count, a, set(cuts[c]));
    store(tail, count);
    for (int64_t l = j; l < n; ++l)
      out[l] = tail[l - j];
  }
}

static void hadamard(float* x, int64_t n, float scale) {
  if (n < 16) {
    for (int64_t h = 1; h < n; h *= 2) {
      for (int64_t j = 0; j < n; ++j) {
        if (j & h) continue;
        const float a = x[j], b = x[j + h];
        x[j] = a + b;
        x[j + h] = a - b;
      }
    }
    for (int64_t j = 0; j < n; ++j)
      x[j] *= scale;
    return;
  }
  const F16 s = set(scale);
  for (int64_t j = 0; j < n; j += 16) {
    const F16 v = butterfly<2>(butterfly<1>(load(x + j) * s));
    store(x + j, butterfly<8>(butterfly<4>(v)));
  }
  int64_t h = 16;
  for (; 4 * h <= n; h *= 4) {  // two levels at a time: half the traffic
    for (int64_t base = 0; base < n; base += 4 * h) {
      for (int64_t j = base; j < base + h; j += 16) {
        const F16 a = load(x + j), b = load(x + j + h), c = load(x + j + 2 * h), d = load(x + j + 3 * h);
        const F16 ab = a + b, amb = a - b, cd = c + d, cmd = c - d;
        store(x + j, ab + cd);
        store(x + j + h, amb + cmd);
        store(x + j + 2 * h, ab - cd);
        store(x + j + 3 * h, amb - cmd);
      }
    }
  }
  if (h < n) {
    for (int64_t j = 0; j < h; j += 16) {
      const F16 a = load(x + j), b = load(x + j + h);
      store(x + j, a + b);
      store(x + j + h, a - b);
    }
  }
}

// --- forward pass -----------------------------------------------------------------------------------------------------------

static void rms_norm(const float* x, const float* gamma, int64_t n, float eps, float* y) {
  D16 sum = zero_lanes();
  Mask16 valid;
  for (int64_t j = 0; j < n; j += 16)
    sum = add_square(widen(load_tail(x, j, n, valid)), sum);
  const F16 scale =
      set(static_cast<float>(1.0 / __builtin_sqrt(fold(sum) / static_cast<double>(n) + static_cast<double>(eps))));
  for (int64_t j = 0; j < n; j += 16)
    store_tail(y, j, n, load_tail(x, j, n, valid) * scale * load_tail(gamma, j, n, valid));
}

static void layer_norm(const float* x, const float* gamma, const float* beta, int64_t n, float eps, float* y) {
  D16 sum = zero_lanes();
  Mask16 valid;
  for (int64_t j = 0; j < n; j += 16)
    sum = sum + widen(load_tail(x, j, n, valid));
  const F16 mean = set(static_cast<float>(fold(sum) / static_cast<double>(n)));
  // The mean is rounded to FP32 first, so that its rounding error is part of the deviations and not of the variance.
  D16 sq = zero_lanes(), rest = zero_lanes();
  for (int64_t j = 0; j < n; j += 16) {
    const F16 v = load_tail(x, j, n, valid);
    const D16 d = widen(keep(v, valid)) - widen(keep(mean, valid));
    sq = sq + d * d;
    rest = rest + d;
  }
  const double shift = fold(rest) / static_cast<double>(n);
  const double variance = fold(sq) / static_cast<double>(n) - shift * shift;
  const F16 scale = set(static_cast<float>(1.0 / __builtin_sqrt(variance + static_cast<double>(eps))));
  const F16 left = set(static_cast<float>(shift));
  for (int64_t j = 0; j < n; j += 16) {
    const F16 v = ((load_tail(x, j, n, valid) - mean) - left) * scale;
    store_tail(y, j, n, fma(v, load_tail(gamma, j, n, valid), load_tail(beta, j, n, valid)));
  }
}

static void rotate(float* x, const float* cosine, const float* sine, int64_t half) {
  for (int64_t j = 0; j < half; j += 16) {
    Mask16 valid;
    const F16 a = load_tail(x, j, half, valid), b = load_tail(x + half, j, half, valid);
    const F16 c = load_tail(cosine, j, half, valid), s = load_tail(sine, j, half, valid);
    store_tail(x, j, half, a * c - b * s);
    store_tail(x + half, j, half, fma(b, c, a * s));
  }
}

static void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  const F16 one = set(1.0f), zero = set(0.0f);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 g = load_tail(gate, j, n, valid), u = load_tail(up, j, n, valid);
    store_tail(out, j, n, g / (one + exponential(zero - g)) * u);
  }
}

static void relu(float* x, int64_t n) {
  const F16 zero = set(0.0f);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 v = load_tail(x, j, n, valid);
    store_tail(x, j, n, select(greater(zero, v), zero, v));
  }
}

// x Phi(x) = max(x, 0) - t Phi(-t), t = |x|: one formula without cancellation on either side. Phi(-t) = e^(-t^2 / 2) R(t) with
// R falling smoothly from 1/2 like 1 / (t sqrt(2 pi)); (t + 3) R(t) is a polynomial in u = (t - 3) / (t + 3), fitted for the
// smallest relative error over [0, 14.5] (5.2e-8).
static void gelu(float* x, int64_t n) {
  const F16 zero = set(0.0f), half = set(0.5f), three = set(3.0f);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 v = load_tail(x, j, n, valid);
    const F16 t = min(set(16.0f), abs(v));  // a NaN stays; from 13.3 on the product is below 1e-38
    // e^(-h) alone would carry the rounding of t^2 times 85. The halves of t have 12 bits, so their products are exact.
    const F16 h = t * t * half;
    const F16 cut = t * set(4097.0f), high = cut - (cut - t), low = t - high;
    const F16 rest = (high * high * half - h) + high * low + low * low * half;
    F16 e = exponential(zero - h);
    e = e - e * rest;
    const F16 v1 = set(1.0f) / (t + three), u = (t - three) * v1;
    F16 p = set(-2.629919868e-4f);
    p = fma(p, u, set(-8.977567013e-4f));
    p = fma(p, u, set(1.074734722e-3f));
    p = fma(p, u, set(6.920008578e-3f));
    p = fma(p, u, set(-1.048009428e-2f));
    p = fma(p, u, set(-4.725528556e-2f));
    p = fma(p, u, set(2.300193987e-1f));
    p = fma(p, u, set(-5.093323282e-1f));
    p = fma(p, u, set(7.290836684e-1f));
    store_tail(x, j, n, max(v, zero) - t * v1 * p * e);
  }
}

static void subtract_scaled(float* x, float u, const float* e, int64_t n) {
  const F16 factor = set(u);
  int64_t j = 0;
  for (; j + 16 <= n; j += 16)
    store(x + j, load(x + j) - factor * load(e + j));
  for (; j < n; ++j)
    x[j] -= u * e[j];
}

static void add(float* x, const float* y, int64_t n) {
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    store_tail(x, j, n, load_tail(x, j, n, valid) + load_tail(y, j, n, valid));
  }
}

inline float largest_of(const float* x, int64_t n) {
  F16 m = set(-__builtin_inff());
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 v = load_tail(x, j, n, valid);
    m = select(valid, max(v, m), m);
  }
  return largest_lane(m);
}

inline int32_t first_of(const float* x, int64_t n, float value) {
  const F16 v = set(value);
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const uint32_t hit = at_least(load_tail(x, j, n, valid), v) & valid;
    if (hit != 0) return static_cast<int32_t>(j) + __builtin_ctz(hit);
  }
  return 0;
}

static LogitScan scan(const float* logits, int64_t n) {
  const float largest = largest_of(logits, n);
  const F16 m = set(largest);
  D16 sum = zero_lanes();
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 e = exponential(load_tail(logits, j, n, valid) - m);
    sum = sum + widen(keep(e, valid));
  }
  return {largest, first_of(logits, n, largest), fold(sum)};
}

static PairScan scan_pair(const float* ref, const float* own, int64_t n) {
  const float largest_ref = largest_of(ref, n), largest_own = largest_of(own, n);
  const F16 mr = set(largest_ref), mo = set(largest_own);
  D16 sum_ref = zero_lanes(), sum_own = zero_lanes(), cross = zero_lanes();
  for (int64_t j = 0; j < n; j += 16) {
    Mask16 valid;
    const F16 r = load_tail(ref, j, n, valid), o = load_tail(own, j, n, valid);
    const D16 er = widen(keep(exponential(r - mr), valid));
    sum_ref = sum_ref + er;
    sum_own = sum_own + widen(keep(exponential(o - mo), valid));
    cross = cross + er * (widen(r) - widen(o));
  }
  return {{largest_ref, first_of(ref, n, largest_ref), fold(sum_ref)},
          {largest_own, first_of(own, n, largest_own), fold(sum_own)},
          fold(cross)};
}

template <int kRows, int kVectors>
inline void register_tile(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int depth,
                          bool accumulate) {
  F16 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = accumulate ? load(c + r * ldc + v * 16) : set(0.0f);
  for (int k = 0; k < depth; ++k) {
    F16 right[kVectors];
    for (int v = 0; v < kVectors; ++v)
      right[v] = load(b + k * ldb + v * 16);
    for (int r = 0; r < kRows; ++r) {
      const F16 left = set(a[r * lda + k]);
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = fma(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      store(c + r * ldc + v * 16, sum[r][v]);
}

template <int kRows>
inline void row_block(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int cols, int depth,
                      bool accumulate) {
  int j = 0;
  for (; j + kTileVectors * 16 <= cols; j += kTileVectors * 16)
    register_tile<kRows, kTileVectors>(a, lda, b + j, ldb, c + j, ldc, depth, accumulate);
  for (; j < cols; j += 16)
    register_tile<kRows, 1>(a, lda, b + j, ldb, c + j, ldc, depth, accumulate);
}

static void tile_product(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int rows, int cols,
                         int depth, bool accumulate) {
  int i = 0;
  for (; i + kTileRows <= rows; i += kTileRows)
    row_block<kTileRows>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, cols, depth, accumulate);
  for (; i < rows; ++i)
    row_block<1>(a + i * lda, lda, b, ldb, c + i * ldc, ldc, cols, depth, accumulate);
}

static void softmax_step(float* p, int keys, int first, int last, float scale, float* largest, float* total, float* out,
                         int cols) {
  const F16 nothing = set(-__builtin_inff()), s = set(scale);
  const bool whole = first <= 0 && last >= keys;
  F16 m = nothing;
  for (int j = 0; j < keys; j += 16) {
    F16 v = load(p + j) * s;
    if (!whole) {
      uint32_t in = 0xffffu;
      if (last - j < 16) in = last <= j ? 0 : (1u << (last - j)) - 1u;
      if (first > j) in &= first - j >= 16 ? 0u : 0xffffu << (first - j);
      v = select(static_cast<Mask16>(in), v, nothing);
    }
    store(p + j, v);
    m = max(v, m);
  }
  const float above = largest_lane(m);
  if (above > *largest) {
    alignas(64) float lane[16];
    store(lane, exponential(set(*largest - above)));
    *largest = above;
    *total *= lane[0];
    const F16 shrink = set(lane[0]);
    for (int j = 0; j < cols; j += 16)
      store(out + j, load(out + j) * shrink);
  }
  // Before any key was seen the maximum is -inf and every difference would be NaN; 0 makes the terms vanish instead.
  const F16 top = set(*largest == -__builtin_inff() ? 0.0f : *largest);
  F16 sum = set(0.0f);
  for (int j = 0; j < keys; j += 16) {
    const F16 e = exponential(load(p + j) - top);
    store(p + j, e);
    sum = sum + e;
  }
  *total += lane_sum(sum);
}

constexpr KernelTable make_table(const char* name, const char* description) {
  KernelTable t{};
  t.name = name;
  t.description = description;
  t.stats = stats;
  t.moments = moments;
  t.label_moments = label_moments;
  t.column_moments = column_moments;
  t.squares = squares;
  t.column_squares = column_squares;
  t.squared_distance = squared_distance;
  t.deviation_high = deviation_high;
  t.deviation_low = deviation_low;
  t.above = above;
  t.magnitude_bins = magnitude_bins;
  t.assign = assign;
  t.hadamard = hadamard;
  t.rms_norm = rms_norm;
  t.layer_norm = layer_norm;
  t.rotate = rotate;
  t.silu_mul = silu_mul;
  t.relu = relu;
  t.gelu = gelu;
  t.subtract_scaled = subtract_scaled;
  t.add = add;
  t.scan = scan;
  t.scan_pair = scan_pair;
  t.tile_product = tile_product;
  t.softmax_step = softmax_step;
  return t;
}

}  // namespace sage::cpu::SAGE_SIMD
