// Launch wrappers of the fits kernels; included by compiled/fits.cu (nvcc) and kernels/cuda_on_cpu/fits.cpp (executor).
#include "kernels/cuda/device/fits.cuh"
#include "kernels/cuda/fit_kernels.h"
#include "kernels/cuda/launch/column_sums.h"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda/launch/sums.h"

namespace KX_NAMESPACE {
namespace {

using sage::Moments;
using sage::ResidualLevels;
using sage::ResidualRule;
using sage::WeightView;
using sage::cuda::OwnedBits;
using sage::cuda::UnitLabels;

int launch_cell_deviations(WeightView w, OwnedBits own, UnitLabels units, const float* center, int64_t block, Moments* cells,
                           kx::Stream stream) {
  return sum_cells("unit_moments", CenteredWeights{cell_weights(w, block), own, units, center}, w.rows, w.cols, block, cells,
                   stream);
}

int launch_column_deviations(WeightView w, OwnedBits own, UnitLabels units, const float* center, Moments* parts, Moments* out,
                             kx::Stream stream) {
  return sum_columns("unit_moments", CenteredWeights{weights(w), own, units, center}, w.rows, w.cols,
                     sage::cuda::column_bands(w.rows, w.cols), parts, out, stream);
}

// A warp takes a row, or a part.
dim3 fit_grid(int64_t rows, int64_t tiles = 1) {
  return dim3(static_cast<unsigned>(std::min<int64_t>(divide_up(rows, kFitWarps), INT32_MAX)), static_cast<unsigned>(tiles));
}

int launch_label_deviations(WeightView w, OwnedBits own, UnitLabels units, const float* center, Moments* parts, Moments* out,
                            int* out_of_range, kx::Stream stream) {
  if (w.rows <= 0) return 0;
  const int64_t each = units.by_row ? 1 : sage::cuda::rows_per_label_part(w.rows), n = divide_up(w.rows, each);
  const int code =
      kx::launch("unit_moments", fit_grid(n, divide_up(units.groups, kMomentUnits)), dim3(kFitThreads),
                 static_cast<size_t>(kFitWarps * std::min(units.groups, kMomentUnits) * kMomentBytes), stream,
                 unit_moments_kernel, weights(w), own, units, center, each, n, units.by_row ? out : parts, out_of_range);
  if (code != 0 || units.by_row) return code;
  return sum_columns("unit_moments", Parts<Moments>{parts, int64_t{units.groups}}, n, units.groups, 1, parts, out, stream);
}

int launch_residual_binarize(WeightView w, OwnedBits own, UnitLabels units, ResidualRule rule, ResidualLevels* levels,
                             double* errors, int* out_of_range, kx::Stream stream) {
  if (w.rows <= 0) return 0;
  const bool one = units.groups == 1 && units.element == nullptr;  // those labels are looked at on the way
  const size_t unit_bytes = sizeof(ResidualLevels) + (one ? 0 : 32 * sizeof(double));
  return kx::launch("residual_binarize", fit_grid(w.rows, sage::cuda::residual_tiles(units.groups)), dim3(kFitThreads),
                    static_cast<size_t>(kFitWarps * std::min(units.groups, kResidualUnits)) * unit_bytes, stream,
                    one ? residual_kernel<true> : residual_kernel<false>, weights(w), own, units, rule, levels, errors,
                    out_of_range);
}

sage::cuda::FitKernels fit_kernels() {
  sage::cuda::FitKernels k;
  k.cell_moments = launch_cell_deviations;
  k.column_moments = launch_column_deviations;
  k.label_moments = launch_label_deviations;
  k.residual_binarize = launch_residual_binarize;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
