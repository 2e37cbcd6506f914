// The numerical operations everything else is composed of, and the devices that perform them.
//
// Backends: `reference` (plain loops, double sums: the oracle), `cpu` (OpenBLAS and vector kernels, threads by OpenMP), `cuda`
// (cuBLAS and own kernels) and `cuda_on_cpu` (the same kernels executed on the CPU, for tests). All pass one shared test suite
// (tests/kernels). Views handed to an operation are host memory or memory of the backend (allocate(), memory.h); spans are
// host memory unless they were made from such a view. A backend with memory of its own mirrors host memory for the call, or for
// as long as it is held. Every operation is deterministic: its result does not depend on the number of threads. Operations may
// be called from several threads at once.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor/mask.h"
#include "core/tensor/units.h"
#include "core/tensor/view.h"
#include "core/util/large_blocks.h"

namespace sage {

// Rows of memory, `pitch_bytes` apart.
template <class Pointer>
struct Pitched {
  Pointer data = nullptr;
  int64_t pitch_bytes = 0;
};
// Host memory whose contents a backend may keep a copy of: what was held must not change until the last copy of this is gone.
using HeldMemory = std::shared_ptr<const void>;

// Memory of the device, in bytes. All zero for backends that compute in host memory: the process's own figures hold.
struct DeviceMemoryUse {
  uint64_t in_use = 0;  // handed out, mirrors and scratch included
  uint64_t peak = 0;    // of in_use, since the last restart_peak()
  uint64_t total = 0;   // of the device
};

// A stretch of a device's work, for seeing what ran beside what. Seconds since the backend was made.
struct TimelineEntry {
  std::string stream;  // "compute": one span after another; "transfer": host memory on its way to where it is held
  std::string what;    // a span's name, or the shape that was sent
  double start_s = 0;
  double end_s = 0;
};

// Sums over a set of weights, in double, in a fixed order.
struct Moments {
  int64_t count = 0;
  double sum = 0;       // sum w
  double abs_sum = 0;   // sum |w|
  double sq_sum = 0;    // sum w^2
};

// Whole-matrix statistics of one pass.
struct MatrixStats {
  Moments moments;
  float min = 0;
  float max = 0;
  int64_t nonfinite = 0;  // NaN and infinities; they are left out of the sums
};

// Histogram of magnitudes |w| by the leading bits of their float pattern: bin b holds the patterns p with p >> shift == b,
// so bins are ordered, relative width 2^(shift-23), and (count, sum, sum of squares) of each are exact sums over its members.
struct MagnitudeHistogram {
  int shift = 12;  // 12 keeps 11 mantissa bits: 2^19 bins over all finite floats
  std::vector<int64_t> count;
  std::vector<double> sum;     // sum |w| per bin
  std::vector<double> sq_sum;  // sum w^2 per bin
};

// Residual binarization of units of weights: order by order a sign of what is left, around its mean.
struct ResidualRule {
  static constexpr int kMostOrders = 4;
  int order = 1;              // signs per weight, 1 .. kMostOrders
  bool centered = true;       // false: every mean is 0
  bool merge_means = true;    // the decoder adds one number, the sum of all means
  bool keep_zero = false;     // sgn(0) = 0; else +1
  bool half_numbers = true;   // parameters are rounded to FP16 (round_to_finite_half)
};
struct ResidualLevels {
  std::array<float, ResidualRule::kMostOrders> scale{};   // alpha_o
  std::array<float, ResidualRule::kMostOrders> center{};  // mu_o, which signs are taken around; not rounded when merged
  std::array<float, ResidualRule::kMostOrders> mean{};    // what a decoder adds: mu_o, or their sum in the first
  int64_t count = 0;                                      // owned weights of the unit; all else is 0 when there are none
};

// Ways to divide every row of a matrix into two parts, ascending. Trial t: the weights with key < cuts[t] and the others.
struct SplitTrials {
  std::span<const float> cuts;
  std::span<const float> column_keys = {};  // the key of a weight is its column's; empty: it is the weight's magnitude
  const SaliencyMask* apart = nullptr;      // salient weights are in neither part; those of a row are binarized twice, alone
  int order = 1;                            // how many times either part is binarized, 1 or 2
  bool centered = true;                     // every binarization subtracts the mean first
};

class BlockCoder;

struct AttentionShape {
  int heads = 0;
  int kv_heads = 0;   // heads % kv_heads == 0 (grouped-query attention)
  int head_dim = 0;
  float scale = 1;    // multiplies q . k
  int window = 0;     // 0 = every earlier position; otherwise the last `window` positions, own one included
};

// Rotary embedding tables: position p, pair i rotates (x[i], x[i + head_dim/2]) by angle p * inv_freq[i] (Hugging Face order).
struct RotaryTable {
  int head_dim = 0;
  float attention_factor = 1;     // multiplies cos and sin
  std::vector<double> inv_freq;   // head_dim / 2
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;         // "reference", "cpu", ...
  virtual std::string description() const = 0;  // "AVX-512, OpenBLAS 0.3.21, 2 threads"

  // --- memory (see memory.h) --------------------------------------------------------------------------------------------------
  // Uninitialised memory the operations work in without copies, at least 64-byte aligned. ResourceError when there is none left.
  virtual std::shared_ptr<void> allocate(size_t bytes) const {
    return {allocate_block(bytes > 0 ? bytes : 1), [](void* block) { free_block(block); }};
  }
  virtual bool memory_is_host() const { return true; }  // the host may read and write what allocate() gave
  virtual void copy(Pitched<const void*> from, Pitched<void*> to, int64_t width_bytes, int64_t rows) const {
    for (int64_t i = 0; i < rows && width_bytes > 0; ++i)
      std::memcpy(static_cast<char*>(to.data) + i * to.pitch_bytes, static_cast<const char*>(from.data) + i * from.pitch_bytes,
                  static_cast<size_t>(width_bytes));
  }
  // Starts to send host memory over, without waiting for its end; operations on any part of it then use the copy.
  virtual HeldMemory hold(WeightView /*w*/) const { return nullptr; }
  virtual DeviceMemoryUse device_memory() const { return {}; }
  virtual void restart_peak() const {}

  // --- timeline: of devices that work beside the host; elsewhere nothing is recorded ---------------------------------------
  virtual void record_timeline(bool /*on*/) const {}  // forgets what was recorded; off at first
  // Operations queued between this call and the end of the last copy of its result are a span on "compute".
  virtual std::shared_ptr<const void> span(const std::string& /*what*/) const { return nullptr; }
  // Everything recorded so far, by start. Waits for the device.
  virtual std::vector<TimelineEntry> timeline() const { return {}; }

  // --- statistics and quantization -----------------------------------------------------------------------------------------
  virtual MatrixStats matrix_stats(WeightView w) const = 0;
  // The k-th smallest (0-based) of |w - center|, exact. 0 <= k < w.size(). The deviation is computed in float: |w - (float)center|.
  virtual float deviation_order_statistic(WeightView w, float center, int64_t k) const = 0;
  // Bits of { |w - center| > threshold }.
  virtual BitMask deviation_above(WeightView w, float center, float threshold) const = 0;
  // Sum of w^2 per row and per column (double).
  virtual void row_sq_sums(WeightView w, std::span<double> out) const = 0;
  virtual void column_sq_sums(WeightView w, std::span<double> out) const = 0;
  virtual MagnitudeHistogram magnitude_histogram(WeightView w, const Selection& own, int shift) const = 0;
  // Group id of every weight: the number of cuts <= |w|. cuts ascending, at most 255. out: w.size() bytes, row-major.
  virtual void assign_by_magnitude(WeightView w, std::span<const float> cuts, uint8_t* out) const = 0;
  // Moments per group over the owned weights, out.size() == groups.groups. The deviation center is 0.
  virtual void group_moments(WeightView w, const Selection& own, const GroupMap& groups, std::span<Moments> out) const = 0;
  // Moments of w - center_u (the difference in double) over the owned weights of every unit. center: one per unit, or empty for 0.
  virtual void unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                            std::span<Moments> out) const = 0;
  // The levels of every unit, order by order, with r = w - S and S what the orders before made of w:
  //   mu_o = mean of r (0 unless centered),  alpha_o = mean of |r - mu_o|,  S += mu_o + alpha_o sgn(r - mu_o)
  // Sums in double, the rest in float in this order; mu_o and alpha_o are rounded as they will be stored before they are used.
  // units are by row. Returns sum (w - what)^2 over the owned weights, what as a decoder makes it. Not finite if a weight is not.
  virtual double residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                                   std::span<ResidualLevels> levels) const = 0;
  // errors[t] = sum over rows of the squared errors of masked residual binarization of both parts of the row, and of the weights
  // apart: per order mu = mean R (0 unless centered), alpha = mean |R - mu|, R -= mu + alpha sgn(R - mu), sgn(0) = 0, and R at
  // first the values themselves; at the end sum R^2, all in double. upper_count[t]: weights whose key is not below cuts[t].
  // Trials that divide the rows alike get the same error, to the last bit, and an exact fit gets 0. A weight that is not finite,
  // in whatever part, makes all errors NaN; a magnitude that is NaN is below no cut. Cuts and column keys are not NaN.
  virtual void split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors,
                            std::span<int64_t> upper_count) const = 0;
  // Backends that code weights, and correct columns for the errors of others, beside the host.
  virtual const BlockCoder* block_coder() const { return nullptr; }
  // sum (a - b)^2 over all elements.
  virtual double squared_distance(WeightView a, WeightView b) const = 0;
  // Orthonormal Walsh-Hadamard transform of every row in place; cols is a power of two. y = H x / sqrt(n).
  virtual void hadamard_rows(View<float> w) const = 0;

  // --- model forward pass (FP32) ----------------------------------------------------------------------------------------------
  // y[T x m] = x[T x n] * w[m x n]^T (+ bias[m] if not empty).
  virtual void linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const = 0;
  // y = x / sqrt(mean(x^2) + eps) * gamma, per row. y may be x.
  virtual void rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const = 0;
  // y = (x - mean) / sqrt(var + eps) * gamma + beta, per row. y may be x.
  virtual void layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps, View<float> y) const = 0;
  // Rotates `heads` heads of every row in place; row t has position first_position + t.
  virtual void rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const = 0;
  // Causal attention of one sequence: q[T x heads*head_dim], k, v[T x kv_heads*head_dim] -> out[T x heads*head_dim]. No T x T
  // matrix is kept for more than one tile.
  virtual void attention(WeightView q, WeightView k, WeightView v, const AttentionShape& shape, View<float> out) const = 0;
  // Throws what attention() would throw for heads of this shape whatever the sequence: to be asked before hours of work.
  virtual void require_attention(const AttentionShape& /*shape*/) const {}
  virtual void silu_mul(WeightView gate, WeightView up, View<float> out) const = 0;  // silu(gate) * up; out may alias either
  virtual void relu(View<float> x) const = 0;
  // x Phi(x) = x / 2 erfc(-x / sqrt 2), Phi the standard normal distribution function: "gelu" of Hugging Face, not the tanh form.
  virtual void gelu(View<float> x) const = 0;
  virtual void add(View<float> x, WeightView y) const = 0;  // x += y

  // --- calibration ------------------------------------------------------------------------------------------------------------
  // gram[n x n] = keep * gram + weight * x^T x for x[T x n], a symmetric rank-T update: T n (n + 1) operations. The upper
  // triangle (row <= column) alone is read and written; with keep == 0 it need not hold anything before. The double version
  // forms products and sums in double.
  virtual void gram_update(WeightView x, double keep, double weight, View<float> gram) const = 0;
  virtual void gram_update(WeightView x, double keep, double weight, View<double> gram) const = 0;

  // --- error compensation ---------------------------------------------------------------------------------------------------
  // x[i][j] -= u[i] * e[j]. For tiles that fit a cache: runs on the calling thread, so that threads may work on tiles side by side.
  // Each product is rounded before it is subtracted, as where released code does the same in two steps.
  virtual void subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const = 0;
  // x[n x m] -= a[n x k] * b[k x m]. 2 n k m operations.
  virtual void subtract_product(WeightView a, WeightView b, View<float> x) const = 0;

  // --- output head, in slices: nothing of size T x vocabulary is ever in memory ----------------------------------------------
  // nll[t] = -log softmax(head * hidden[t])[target[t]] (natural logarithm). target < 0 = not scored (nll 0).
  // top1 (may be empty): the id of the largest logit.
  virtual void head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                        std::span<int32_t> top1) const = 0;
  // kl[t] = KL(P_ref || P), P = softmax(head * hidden[t]); agree[t] = 1 when both have the same largest logit. With targets it
  // gives nll of P, too, as head_nll does: the logits are there already.
  virtual void head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head,
                               std::span<double> kl, std::span<uint8_t> agree, std::span<const int32_t> target = {},
                               std::span<double> nll = {}) const = 0;
};

// What `doctor` prints for each backend this program knows.
struct BackendStatus {
  std::string name;
  bool available = false;
  std::string detail;  // what it found, or why it is not available
};

}  // namespace sage
