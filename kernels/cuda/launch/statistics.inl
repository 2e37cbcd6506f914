// Launch wrappers of the statistics kernels; included by compiled/statistics.cu (nvcc) and kernels/cuda_on_cpu/statistics.cpp
// (executor).
#include <bit>
#include <cmath>

#include "kernels/cuda/device/groups.cuh"
#include "kernels/cuda/device/hadamard.cuh"
#include "kernels/cuda/device/histogram.cuh"
#include "kernels/cuda/device/select.cuh"
#include "kernels/cuda/launch/column_sums.h"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda/launch/sums.h"
#include "kernels/cuda/statistics_kernels.h"

namespace KX_NAMESPACE {
namespace {

using sage::MatrixStats;
using sage::Moments;
using sage::View;
using sage::WeightView;
using sage::cuda::MagnitudeBin;
using sage::cuda::OwnedBits;
using sage::cuda::RadixState;

int launch_matrix_stats(WeightView w, MatrixStats* parts, MatrixStats* out, kx::Stream stream) {
  return sum_matrix("matrix_stats", OwnedWeights<MatrixStats>{weights(w), {}}, w.rows, w.cols, parts, out, stream);
}
int launch_matrix_moments(WeightView w, OwnedBits own, Moments* parts, Moments* out, kx::Stream stream) {
  return sum_matrix("matrix_moments", OwnedWeights<Moments>{weights(w), own}, w.rows, w.cols, parts, out, stream);
}
int launch_squared_distance(WeightView a, WeightView b, double* parts, double* out, kx::Stream stream) {
  return sum_matrix("squared_distance", Distance{weights(a), weights(b)}, a.rows, a.cols, parts, out, stream);
}
int launch_cell_moments(WeightView w, OwnedBits own, int64_t block, Moments* cells, kx::Stream stream) {
  return sum_cells("cell_moments", OwnedWeights<Moments>{cell_weights(w, block), own}, w.rows, w.cols, block, cells, stream);
}
int launch_row_squares(WeightView w, double* out, kx::Stream stream) {
  return sum_cells("row_squares", OwnedWeights<double>{weights(w), {}}, w.rows, w.cols, std::max<int64_t>(1, w.cols), out,
                   stream);
}
int launch_column_moments(WeightView w, OwnedBits own, Moments* parts, Moments* out, kx::Stream stream) {
  return sum_columns("column_moments", OwnedWeights<Moments>{weights(w), own}, w.rows, w.cols,
                     sage::cuda::column_bands(w.rows, w.cols), parts, out, stream);
}
int launch_column_squares(WeightView w, double* parts, double* out, kx::Stream stream) {
  return sum_columns("column_squares", OwnedWeights<double>{weights(w), {}}, w.rows, w.cols,
                     sage::cuda::column_bands(w.rows, w.cols), parts, out, stream);
}

int label_threads(int groups) {
  constexpr size_t kSharedBytes = 48 * 1024;
  const size_t columns = kSharedBytes / (static_cast<size_t>(groups) * kLabelEntryBytes);
  return std::clamp(static_cast<int>(std::bit_floor(columns)), kLeastLabelThreads, kMostLabelThreads);
}

int launch_label_moments(WeightView w, OwnedBits own, const uint8_t* labels, int groups, Moments* parts, Moments* out,
                         int* out_of_range, kx::Stream stream) {
  if (w.rows <= 0 || w.cols <= 0) return 0;
  const int threads = label_threads(groups);
  const unsigned blocks = walking_blocks(w.rows, w.cols, threads);
  const int code = kx::launch("label_moments", dim3(blocks), dim3(static_cast<unsigned>(threads)),
                              static_cast<size_t>(groups * threads) * kLabelEntryBytes, stream, label_moments_kernel,
                              weights(w), own, labels, aligned(labels, 4) && w.cols % 4 == 0, groups, parts, out_of_range);
  if (code != 0) return code;
  return sum_columns("label_moments", Parts<Moments>{parts, groups}, blocks, groups, 1, parts, out, stream);
}

int launch_order_statistic(WeightView w, float center, int64_t k, RadixState* state, float* out, kx::Stream stream) {
  if (w.rows <= 0 || w.cols <= 0) return 0;
  constexpr int64_t kMostBlocks = 512;  // each may add to every counter
  const dim3 grid(walking_blocks(w.rows, w.cols, kCountThreads, kMostBlocks));
  int shift = 31;
  for (int bits : {11, 10, 10}) {
    shift -= bits;
    int code = kx::launch("order_statistic", grid, dim3(kCountThreads), 0, stream, count_deviations_kernel, weights(w), center,
                          shift, bits, state);
    if (code != 0) return code;
    code = kx::launch("order_statistic", dim3(1), dim3(32), 0, stream, narrow_kernel, state, static_cast<unsigned long long>(k),
                      bits, shift == 0 ? out : nullptr);
    if (code != 0) return code;
  }
  return 0;
}

int launch_deviation_above(WeightView w, float center, float threshold, uint64_t* words, kx::Stream stream) {
  if (w.rows <= 0 || w.cols <= 0) return 0;
  return kx::launch("deviation_above", elementwise_grid(w.rows, divide_up(w.cols, kHalvesAtOnce), kBitsThreads),
                    dim3(kBitsThreads), 0, stream, deviation_above_kernel, weights(w), center, threshold,
                    reinterpret_cast<unsigned*>(words));
}

int launch_assign_by_magnitude(WeightView w, const float* cuts, int count, uint8_t* out, kx::Stream stream) {
  if (w.rows <= 0 || w.cols <= 0) return 0;
  return kx::launch("assign_by_magnitude", dim3(walking_blocks(w.rows, w.cols, kAssignThreads, INT32_MAX)),
                    dim3(kAssignThreads), 0, stream, assign_by_magnitude_kernel, weights(w), cuts, count,
                    static_cast<int>(std::bit_width(static_cast<unsigned>(count))), out, aligned(out, 4) && w.cols % 4 == 0);
}

int launch_magnitude_histogram(WeightView w, OwnedBits own, int shift, MagnitudeBin* bins, int64_t* count, double* sum,
                               double* sq_sum, kx::Stream stream) {
  const int fine = std::min(shift, sage::cuda::kFinestShift);
  if (w.rows > 0 && w.cols > 0) {
    const int code = kx::launch("magnitude_histogram", dim3(walking_blocks(w.rows, w.cols, kHistogramThreads)),
                                dim3(kHistogramThreads), 0, stream, count_magnitudes_kernel, weights(w), own, fine, bins);
    if (code != 0) return code;
  }
  const int64_t coarse = sage::cuda::magnitude_bins(shift), per_coarse = int64_t{1} << (shift - fine);
  const int lanes = per_coarse == 1 ? 1 : 32;
  return kx::launch("magnitude_histogram", dim3(static_cast<unsigned>(divide_up(coarse * lanes, kHistogramThreads))),
                    dim3(kHistogramThreads), 0, stream, lanes == 1 ? sum_magnitudes_kernel<1> : sum_magnitudes_kernel<32>,
                    static_cast<const MagnitudeBin*>(bins), fine, per_coarse, coarse, count, sum, sq_sum);
}

int launch_hadamard_rows(View<float> w, kx::Stream stream) {
  if (w.rows <= 0 || w.cols <= 0) return 0;
  const int levels = std::bit_width(static_cast<uint64_t>(w.cols)) - 1, shared = std::min(levels, kMostSharedLevels);
  const int64_t segments = w.rows << (levels - shared);
  constexpr int kLeastThreads = 128;
  const int threads = std::clamp((1 << shared) / 8, 1, kMostHadamardThreads), per_block = std::max(1, kLeastThreads / threads);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(w.cols)));
  int code = kx::launch("hadamard_rows", dim3(static_cast<unsigned>(divide_up(segments, per_block))),
                        dim3(static_cast<unsigned>(threads * per_block)),
                        static_cast<size_t>(per_block) * ((1u << shared) + (1u << shared) / 32) * sizeof(float), stream,
                        hadamard_kernel, w.data, w.ld, segments, levels - shared, shared, scale, threads);
  for (int log_h = shared; code == 0 && log_h < levels;) {
    const int step = std::min(levels - log_h, 3);
    code =
        kx::launch("hadamard_rows", elementwise_grid(w.rows, w.cols >> step, kStrideThreads), dim3(kStrideThreads), 0, stream,
                   step == 3   ? hadamard_stride_kernel<3>
                   : step == 2 ? hadamard_stride_kernel<2>
                               : hadamard_stride_kernel<1>,
                   w.data, w.ld, w.rows, levels, log_h);
    log_h += step;
  }
  return code;
}

sage::cuda::StatisticsKernels statistics_kernels() {
  sage::cuda::StatisticsKernels k;
  k.matrix_stats = launch_matrix_stats;
  k.matrix_moments = launch_matrix_moments;
  k.cell_moments = launch_cell_moments;
  k.column_moments = launch_column_moments;
  k.label_moments = launch_label_moments;
  k.row_squares = launch_row_squares;
  k.column_squares = launch_column_squares;
  k.squared_distance = launch_squared_distance;
  k.order_statistic = launch_order_statistic;
  k.deviation_above = launch_deviation_above;
  k.assign_by_magnitude = launch_assign_by_magnitude;
  k.magnitude_histogram = launch_magnitude_histogram;
  k.hadamard_rows = launch_hadamard_rows;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
