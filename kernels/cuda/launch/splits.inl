// Launch wrappers of the splits kernels; included by compiled/splits.cu (nvcc) and kernels/cuda_on_cpu/splits.cpp (executor).
#include "kernels/cuda/device/splits.cuh"
#include "kernels/cuda/launch/column_sums.h"
#include "kernels/cuda/split_kernels.h"

namespace KX_NAMESPACE {
namespace {

using sage::cuda::SplitArguments;

// As many rows as give the threads of a block a trial each, and fit into half of the 48 KB every device has.
SplitPlan split_plan(const SplitArguments& p) {
  constexpr size_t kSharedBytes = 24 * 1024;
  const int apart = p.apart.words != nullptr ? 1 : 0;
  SplitPlan plan;
  plan.batch = std::min(p.count, kSplitThreads - apart);
  plan.tile = static_cast<int>(std::min<int64_t>(p.x.cols, kSplitTile));
  plan.stride = plan.tile | 1;
  const int fit = static_cast<int>(kSharedBytes / (static_cast<size_t>(plan.stride) * kSplitEntryBytes));
  plan.rows = plan.tile < p.x.cols ? 1 : std::clamp(kSplitThreads / (plan.batch + apart), 1, fit);
  return plan;
}

int launch_split_errors(const SplitArguments& p, double* rows, double* parts, double* bands, double* out, kx::Stream stream) {
  if (p.x.rows <= 0 || p.x.cols <= 0 || p.count <= 0) return 0;
  const int64_t sums = sage::cuda::split_sums(p.count), band = sage::cuda::split_band(p.x.rows, p.count);
  const int64_t count = sage::cuda::split_bands(p.x.rows, p.count);
  const SplitPlan plan = split_plan(p);
  const size_t shared = static_cast<size_t>(plan.rows * plan.stride) * kSplitEntryBytes;
  for (int64_t b = 0; b < count; ++b) {
    SplitArguments part = p;
    part.x = p.x.row_range(b * band, std::min(p.x.rows, (b + 1) * band));
    if (part.apart.words != nullptr) part.apart.words += b * band * part.apart.row_words;
    int code = kx::launch("split_errors", dim3(static_cast<unsigned>(divide_up(part.x.rows, plan.rows))), dim3(kSplitThreads),
                          shared, stream, split_rows_kernel, part, plan, rows);
    if (code != 0) return code;
    code = sum_columns("split_errors", Parts<double>{rows, sums}, part.x.rows, sums,
                       sage::cuda::column_bands(part.x.rows, sums), parts, count == 1 ? out : bands + b * sums, stream);
    if (code != 0) return code;
  }
  if (count == 1) return 0;
  return sum_columns("split_errors", Parts<double>{bands, sums}, count, sums, 1, parts, out, stream);
}

sage::cuda::SplitKernels split_kernels() {
  sage::cuda::SplitKernels k;
  k.split_errors = launch_split_errors;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
