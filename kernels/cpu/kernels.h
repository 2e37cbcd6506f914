// The vector kernels of backend "cpu": functions over one row (or one tile), the same set for every instruction set. No
// threads, no allocation, no knowledge of matrices: cuts into rows and tasks, and the order of folding, are the callers'.
//
// kernels.inl implements them once, over the 16-lane types of simd_*.h; kernels_{avx512,avx2,portable}.cpp compile it with
// different flags into different namespaces. Lane j % 16 of a row sum holds the elements j of the row.
#pragma once

#include <cstdint>

namespace sage::cpu {

constexpr int kLanes = 16;

// Running sums of a task. Kernels add to them; fold() in quantization.cpp adds the lanes up in a fixed tree.
struct alignas(64) LaneSums {
  double sum[kLanes] = {};
  double abs_sum[kLanes] = {};
  double sq_sum[kLanes] = {};
  int64_t count = 0;
};

struct alignas(64) LaneStats {
  LaneSums sums;
  float min[kLanes];
  float max[kLanes];
  int64_t nonfinite = 0;
};

// Moments per label: eight interleaved copies (copy = column % 8), so that runs of one label do not wait for each other.
constexpr int kTableCopies = 8;
constexpr int kTableLabels = 256;
struct alignas(32) TableEntry {
  double sum, abs_sum, sq_sum, count;
};
using LabelTable = TableEntry[kTableLabels][kTableCopies];

// One bin of a magnitude histogram over the low `shift` bits l of the patterns in it: sum of l and number of members share a
// word (members << 38), the other word is the sum of l^2. Integers: exact, and the same in any order.
struct alignas(16) PackedBin {
  uint64_t count_and_low;
  uint64_t low_sq;
};
constexpr int kPackedCountShift = 38;
constexpr int64_t kPackedLimit = int64_t{1} << 26;  // members before a table must be emptied (shift <= 12)

// Tile of packed attention operands.
constexpr int kKeyTile = 64;

struct LogitScan {
  float largest;
  int32_t top;
  double sum;  // sum exp(l - largest)
};
struct PairScan {
  LogitScan ref, own;
  double cross;  // sum exp(r - ref.largest) * (r - l)
};

struct KernelTable {
  const char* name;         // "avx512"
  const char* description;  // "AVX-512"

  // --- statistics and quantization; `own` holds one bit per column, bit 0 of word 0 for the first element; one word more than
  // the columns need is readable ---
  void (*stats)(const float* w, int64_t n, LaneStats* s);
  void (*moments)(const float* w, int64_t n, const uint64_t* own, int64_t first_bit, LaneSums* s);
  void (*label_moments)(const float* w, int64_t n, const uint64_t* own, const uint8_t* label, LabelTable& table,
                        int64_t* unowned_per_label);
  // As moments, but each column j has its own sums; the arrays are padded to a multiple of 16.
  void (*column_moments)(const float* w, int64_t n, const uint64_t* own, double* sum, double* abs_sum, double* sq_sum,
                         double* count);
  void (*squares)(const float* w, int64_t n, double* lanes);                             // lanes[16] += w^2
  void (*column_squares)(const float* w, int64_t n, double* out);                        // out[j] += w[j]^2
  void (*squared_distance)(const float* a, const float* b, int64_t n, double* lanes);    // lanes[16] += (a - b)^2
  void (*deviation_high)(const float* w, int64_t n, float center, uint64_t* histogram);  // bits 16..30 of |w - center|
  void (*deviation_low)(const float* w, int64_t n, float center, uint32_t high, uint64_t* histogram);  // bits 0..15 of members
  void (*above)(const float* w, int64_t n, float center, float threshold, uint64_t* words);
  void (*magnitude_bins)(const float* w, int64_t n, const uint64_t* own, int shift, PackedBin* bins);
  void (*assign)(const float* w, int64_t n, const float* cuts, int cut_count, uint8_t* out);
  void (*hadamard)(float* x, int64_t n, float scale);

  // --- forward pass ---
  void (*rms_norm)(const float* x, const float* gamma, int64_t n, float eps, float* y);
  void (*layer_norm)(const float* x, const float* gamma, const float* beta, int64_t n, float eps, float* y);
  void (*rotate)(float* x, const float* cosine, const float* sine, int64_t half);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  void (*relu)(float* x, int64_t n);
  void (*gelu)(float* x, int64_t n);  // relative error below 1e-6; 0 for results below 1e-38
  void (*subtract_scaled)(float* x, float u, const float* e, int64_t n);  // x -= u * e, the product rounded first
  void (*add)(float* x, const float* y, int64_t n);
  LogitScan (*scan)(const float* logits, int64_t n);
  PairScan (*scan_pair)(const float* ref, const float* own, int64_t n);

  // c[rows x cols] = (accumulate ? c : 0) + a[rows x depth] * b[depth x cols]; cols is a multiple of 16 and rows of b lie ldb
  // apart.
  void (*tile_product)(const float* a, int64_t lda, const float* b, int64_t ldb, float* c, int64_t ldc, int rows, int cols,
                       int depth, bool accumulate);
  // One step of the online softmax for one query row: p[0..keys) holds q.k; keys outside [first, last) are masked. Turns p into
  // exp(scale * p - m) with the new running maximum m, rescales out[cols] and total, and adds the row's sum to total.
  void (*softmax_step)(float* p, int keys, int first, int last, float scale, float* largest, float* total, float* out,
                       int cols);
};

const KernelTable& portable_kernels();
#if defined(__x86_64__)
const KernelTable& avx2_kernels();
const KernelTable& avx512_kernels();
#endif

}  // namespace sage::cpu
