// Moments and residual levels of units of weights.
//
// Where a stretch of a row or a column is of one unit, the kernels of moments.cuh sum it, with CenteredWeights as their source.
// Elsewhere a warp takes a row (unit_moments_kernel: or a few) and every lane owns a column of a table in shared memory, one
// entry per unit, to which it adds the weights it meets: nothing to race for, no atomics. Tables hold kMomentUnits or
// kResidualUnits units; rows with more are swept again for the next ones.
//
// residual_kernel keeps no S: a sweep forms it anew from the levels of the orders before. Sweeps of a row of n weights: one for
// the counts, then two for each order (one where means are 0), one for the error, all but the first sweep out of a cache. The
// floats of backend.h are rounded one by one, in its order, so levels are those of other backends but for the last bits of the
// double sums. With kOneUnit the row is a single unit and its sum stays in a register.
//
// Bytes: 4 per weight and 1/8 of ownership, 1 of labels of single weights; 56 written per unit (32 for moments). Per weight and
// sweep: the double addition, 5 operations for each order before, in the general kernel one read and write of shared memory and
// a comparison for each ceil(groups / table). Up to a few orders that is some 10^2 operations per weight, under what a device
// does while a weight comes over the bus. Not measured.
//
// Order of a sum: a lane its columns (row by row), then the lanes of a unit, in turn (table) or in a tree (one unit).
// It depends on shape, labels and number of groups, on nothing else.
#pragma once

#include "core/util/half.h"
#include "kernels/cuda/device/moments.cuh"
#include "kernels/cuda/fit_kernels.h"

namespace KX_NAMESPACE {

constexpr int kFitThreads = 128, kFitWarps = kFitThreads / 32;
constexpr unsigned kMomentUnits = 8, kResidualUnits = sage::cuda::kResidualUnits;  // of a table; at most a warp's lanes
constexpr int kMomentBytes = 32 * (3 * sizeof(double) + sizeof(unsigned));         // of a warp's table, per unit

// --- labels and units --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ unsigned label_of(const sage::cuda::UnitLabels& units, int64_t row, int64_t col, int64_t cols) {
  if (units.element != nullptr) return units.element[row * cols + col];
  return units.label == nullptr ? 0 : units.label[row * units.row_labels + static_cast<unsigned>(col) / units.block];
}

__device__ __forceinline__ void add_deviation(sage::Moments& s, float x, float center) {
  const double d = __dsub_rn(static_cast<double>(x), static_cast<double>(center));
  ++s.count;
  s.sum += d;
  s.abs_sum += fabs(d);
  s.sq_sum += d * d;
}

// w - center for the sums of moments.cuh: of cells (all columns of an add() are of one unit), or of columns.
struct CenteredWeights {
  Weights w;
  sage::cuda::OwnedBits own;
  sage::cuda::UnitLabels units;
  const float* center;  // null: 0
  __device__ __forceinline__ float center_of(int64_t row, int64_t col) const {
    if (center == nullptr) return 0.0f;
    return center[(units.by_row ? row * units.groups : 0) + label_of(units, row, col, w.cols)];
  }
  __device__ __forceinline__ void add(sage::Moments& s, int64_t row, int64_t col, int64_t end) const {
    const Quad q = load_quad(w, row, col, end);
    const unsigned bits = owned_bits(own, row, col, q.n);
    const float c = center_of(row, col);
    for (int k = 0; k < 4; ++k)
      if (bits >> k & 1u) add_deviation(s, q.v[k], c);
  }
  __device__ __forceinline__ void add_one(sage::Moments& s, int64_t row, int64_t col) const {
    if (owned_bits(own, row, col, 1) != 0) add_deviation(s, w.data[row * w.ld + col], center_of(row, col));
  }
};

// Calls f(label - first, x) for the owned weights of a row with first <= label < first + count: every 32nd column, from the
// calling lane's on. kOneUnit: all of the row, label 0. `wrong` becomes true where a label, of whatever weight, is out of
// range.
template <bool kOneUnit, class F>
__device__ __forceinline__ void visit_row(const Weights& w, const sage::cuda::OwnedBits& own,
                                          const sage::cuda::UnitLabels& units, int64_t row, unsigned first, unsigned count,
                                          bool& wrong, const F& f) {
  for (int64_t col = threadIdx.x % 32; col < w.cols; col += 32) {
    unsigned unit = 0;
    if constexpr (!kOneUnit) {
      const unsigned label = label_of(units, row, col, w.cols);
      if (label >= units.groups) wrong = true;
      unit = label - first;  // below `first` it wraps
      if (unit >= count) continue;
    }
    if (owned_bits(own, row, col, 1) != 0) f(unit, w.data[row * w.ld + col]);
  }
}

// Where the k-th lane's entry of unit `lane` is in a table. Lanes go round from different columns: each bank is read by few.
__device__ __forceinline__ int entry(int lane, int k) { return lane * 32 + (k + lane) % 32; }

// --- moments -----------------------------------------------------------------------------------------------------------------

// out[p * groups + g]: rows [p * rows_per_part, (p + 1) * rows_per_part), label g. With units by row a part is a row.
// Block (b, t) sums labels [t * kMomentUnits, ...).
__global__ void __launch_bounds__(kFitThreads)
    unit_moments_kernel(Weights w, sage::cuda::OwnedBits own, sage::cuda::UnitLabels units, const float* center,
                        int64_t rows_per_part, int64_t parts, sage::Moments* out, int* out_of_range) {
  KX_DYNAMIC_SHARED(double, shared);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const unsigned groups = units.groups;
  const unsigned tile = groups < kMomentUnits ? groups : kMomentUnits;
  double* sum = shared + warp * static_cast<int>(tile * (kMomentBytes / sizeof(double)));
  double *abs_sum = sum + tile * 32, *sq_sum = abs_sum + tile * 32;
  auto* number = reinterpret_cast<unsigned*>(sq_sum + tile * 32);
  const unsigned first = blockIdx.y * kMomentUnits, count = groups - first < tile ? groups - first : tile;
  bool wrong = false;
  for (int64_t part = int64_t{blockIdx.x} * kFitWarps + warp; part < parts; part += int64_t{gridDim.x} * kFitWarps) {
    const int64_t row0 = part * rows_per_part, row1 = row0 + rows_per_part < w.rows ? row0 + rows_per_part : w.rows;
    for (unsigned u = 0; u < count; ++u) {
      sum[u * 32 + lane] = abs_sum[u * 32 + lane] = sq_sum[u * 32 + lane] = 0;
      number[u * 32 + lane] = 0;
    }
    for (int64_t row = row0; row < row1; ++row) {
      const float* centers = center == nullptr ? nullptr : center + (units.by_row ? row * units.groups : 0) + first;
      visit_row<false>(w, own, units, row, first, count, wrong, [&](unsigned u, float x) {
        const double d = __dsub_rn(static_cast<double>(x), centers == nullptr ? 0.0 : static_cast<double>(centers[u]));
        const unsigned at = u * 32 + lane;
        sum[at] += d;
        abs_sum[at] += fabs(d);
        sq_sum[at] += d * d;
        ++number[at];
      });
    }
    __syncwarp();
    if (static_cast<unsigned>(lane) < count) {
      sage::Moments m;
      clear(m);
      for (int k = 0; k < 32; ++k) {
        const int at = entry(lane, k);
        m.count += number[at];
        m.sum += sum[at];
        m.abs_sum += abs_sum[at];
        m.sq_sum += sq_sum[at];
      }
      out[part * units.groups + first + lane] = m;
    }
    __syncwarp();
  }
  if (wrong) atomicOr(out_of_range, 1);
}

// --- residual levels ---------------------------------------------------------------------------------------------------------

// sage::ResidualLevels, whose arrays have no member functions for devices.
struct UnitLevels {
  float scale[sage::ResidualRule::kMostOrders], center[sage::ResidualRule::kMostOrders], mean[sage::ResidualRule::kMostOrders];
  int64_t count;
};
static_assert(sizeof(UnitLevels) == sizeof(sage::ResidualLevels) && sizeof(UnitLevels) % sizeof(double) == 0);
static_assert(offsetof(UnitLevels, scale) == offsetof(sage::ResidualLevels, scale) &&
              offsetof(UnitLevels, center) == offsetof(sage::ResidualLevels, center) &&
              offsetof(UnitLevels, mean) == offsetof(sage::ResidualLevels, mean) &&
              offsetof(UnitLevels, count) == offsetof(sage::ResidualLevels, count));

// As round_to_finite_half (core/util/half.h) has it: saturates, NaN stays NaN.
__device__ __forceinline__ float as_stored(float v, const sage::ResidualRule& rule) {
  if (!rule.half_numbers) return v;
  const float f = v < -sage::kLargestHalf ? -sage::kLargestHalf : sage::kLargestHalf < v ? sage::kLargestHalf : v;
  return __half2float(__float2half_rn(f));
}

__device__ __forceinline__ float signed_step(float r, float magnitude, bool keep_zero) {
  return __fmul_rn(magnitude, r < 0 ? -1.0f : keep_zero && r == 0 ? 0.0f : 1.0f);
}

// x less what the first `orders` orders made of it.
__device__ __forceinline__ float left_after(const UnitLevels& u, float x, int orders, bool keep_zero) {
  float sum = 0;
  for (int o = 0; o < orders; ++o) {
    const float s = signed_step(__fsub_rn(__fsub_rn(x, sum), u.center[o]), u.scale[o], keep_zero);
    sum = __fadd_rn(sum, __fadd_rn(u.center[o], s));
  }
  return __fsub_rn(x, sum);
}

__device__ __forceinline__ float decoded_value(const UnitLevels& u, float x, const sage::ResidualRule& rule) {
  float sum = 0, value = 0;
  for (int o = 0; o < rule.order; ++o) {
    const float s = signed_step(__fsub_rn(__fsub_rn(x, sum), u.center[o]), u.scale[o], rule.keep_zero);
    sum = __fadd_rn(sum, __fadd_rn(u.center[o], s));
    if (o == 0)
      value = __fadd_rn(u.mean[0], s);
    else
      value = __fadd_rn(value, rule.merge_means ? s : __fadd_rn(u.mean[o], s));
  }
  return value;
}

// Block (b, t) fits units [t * kResidualUnits, ...) of rows. Dynamic shared memory: for each warp residual_units(groups)
// levels, and as many tables of 32 sums unless kOneUnit.
template <bool kOneUnit>
__global__ void __launch_bounds__(kFitThreads)
    residual_kernel(Weights w, sage::cuda::OwnedBits own, sage::cuda::UnitLabels units, sage::ResidualRule rule,
                    sage::ResidualLevels* levels, double* errors, int* out_of_range) {
  KX_DYNAMIC_SHARED(double, shared);
  constexpr int kLevelDoubles = sizeof(UnitLevels) / sizeof(double);
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const unsigned groups = units.groups;
  const unsigned tile = groups < kResidualUnits ? groups : kResidualUnits;
  double* own_shared = shared + warp * static_cast<int>(tile * (kLevelDoubles + (kOneUnit ? 0 : 32)));
  auto* level = reinterpret_cast<UnitLevels*>(own_shared);
  double* table = own_shared + tile * kLevelDoubles;
  bool wrong = false;
  const unsigned first = blockIdx.y * kResidualUnits;
  for (int64_t row = int64_t{blockIdx.x} * kFitWarps + warp; row < w.rows; row += int64_t{gridDim.x} * kFitWarps) {
    const unsigned count = groups - first < tile ? groups - first : tile;
    const bool keeper = static_cast<unsigned>(lane) < count;  // of level[lane]
    if (keeper) {
      UnitLevels& u = level[lane];
      for (int o = 0; o < sage::ResidualRule::kMostOrders; ++o)
        u.scale[o] = u.center[o] = u.mean[o] = 0;
      u.count = 0;
    }
    // Step -1 counts, step 2 o gives the mean of order o, step 2 o + 1 its scale.
    for (int step = -1; step < 2 * rule.order; ++step) {
      const int o = step / 2;
      const bool mean_step = step >= 0 && step % 2 == 0;
      if (mean_step && !rule.centered) continue;
      const auto value = [&](unsigned unit, float x) {
        if (step < 0) return 1.0;
        const float left = left_after(level[unit], x, o, rule.keep_zero);
        return static_cast<double>(mean_step ? left : fabsf(__fsub_rn(left, level[unit].center[o])));
      };
      double total = 0;  // of the lane's unit
      if constexpr (kOneUnit) {
        visit_row<true>(w, own, units, row, 0, 1, wrong, [&](unsigned, float x) { total += value(0u, x); });
        fold_lanes(total, kAllLanes, 32);
      } else {
        for (unsigned u = 0; u < count; ++u)
          table[u * 32 + lane] = 0;
        visit_row<false>(w, own, units, row, first, count, wrong,
                         [&](unsigned u, float x) { table[u * 32 + lane] += value(u, x); });
        __syncwarp();
        if (keeper)
          for (int k = 0; k < 32; ++k)
            total += table[entry(lane, k)];
      }
      if (keeper) {
        UnitLevels& u = level[lane];
        if (step < 0) {
          u.count = static_cast<int64_t>(total);
        } else if (u.count > 0) {
          const float mean = __double2float_rn(__ddiv_rn(total, static_cast<double>(u.count)));
          if (!mean_step) {
            u.scale[o] = as_stored(mean, rule);
          } else if (rule.merge_means) {
            u.center[o] = mean;
          } else {
            u.center[o] = u.mean[o] = as_stored(mean, rule);
          }
        }
      }
      __syncwarp();  // before levels are used, and the table again
    }
    if (keeper) {
      if (rule.merge_means) {
        double centers = 0;
        for (int o = 0; o < rule.order; ++o)
          centers += static_cast<double>(level[lane].center[o]);
        level[lane].mean[0] = as_stored(__double2float_rn(centers), rule);
      }
      memcpy(static_cast<void*>(&levels[row * units.groups + first + lane]), &level[lane], sizeof(UnitLevels));
    }
    __syncwarp();
    double error = 0;
    visit_row<kOneUnit>(w, own, units, row, first, count, wrong, [&](unsigned u, float x) {
      const double e = static_cast<double>(x) - static_cast<double>(decoded_value(level[u], x, rule));
      error += e * e;
    });
    fold_lanes(error, kAllLanes, 32);
    if (lane == 0) errors[row * gridDim.y + blockIdx.y] = error;
    __syncwarp();  // before the next row's levels
  }
  if (wrong) atomicOr(out_of_range, 1);
}

}  // namespace KX_NAMESPACE
