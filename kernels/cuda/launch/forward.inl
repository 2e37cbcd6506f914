// Launch wrappers of the forward kernels; included by compiled/forward.cu (nvcc) and kernels/cuda_on_cpu/forward.cpp
// (executor).
#include "kernels/cuda/device/convert.cuh"
#include "kernels/cuda/device/elementwise.cuh"
#include "kernels/cuda/device/norms.cuh"
#include "kernels/cuda/device/rotary.cuh"
#include "kernels/cuda/forward_kernels.h"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda/launch/walk.h"

namespace KX_NAMESPACE {
namespace {

constexpr int kThreads = 256;

int launch_add(float* x, int64_t ldx, const float* y, int64_t ldy, int64_t rows, int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const Walk w = walk(rows, cols, kThreads, {{x, ldx}, {y, ldy}});
  return kx::launch("add", w.grid, dim3(kThreads), 0, stream, w.wide ? add_kernel<4> : add_kernel<1>, x, ldx, y, ldy, w.rows,
                    w.cols);
}

int launch_silu_mul(const float* gate, int64_t ldg, const float* up, int64_t ldu, float* out, int64_t ldo, int64_t rows,
                    int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const Walk w = walk(rows, cols, kThreads, {{gate, ldg}, {up, ldu}, {out, ldo}});
  return kx::launch("silu_mul", w.grid, dim3(kThreads), 0, stream, w.wide ? silu_mul_kernel<4> : silu_mul_kernel<1>, gate, ldg,
                    up, ldu, out, ldo, w.rows, w.cols);
}

int launch_relu(float* x, int64_t ldx, int64_t rows, int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const Walk w = walk(rows, cols, kThreads, {{x, ldx}});
  return kx::launch("relu", w.grid, dim3(kThreads), 0, stream, w.wide ? relu_kernel<4> : relu_kernel<1>, x, ldx, w.rows,
                    w.cols);
}

int launch_gelu(float* x, int64_t ldx, int64_t rows, int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const Walk w = walk(rows, cols, kThreads, {{x, ldx}});
  return kx::launch("gelu", w.grid, dim3(kThreads), 0, stream, w.wide ? gelu_kernel<4> : gelu_kernel<1>, x, ldx, w.rows,
                    w.cols);
}

int launch_fill_rows(float* y, int64_t ldy, const float* bias, int64_t rows, int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  // The bias is the same row again and again: it keeps the walk from taking all rows for one.
  const Walk w = bias != nullptr ? walk(rows, cols, kThreads, {{y, ldy}, {bias, 0}}) : walk(rows, cols, kThreads, {{y, ldy}});
  return kx::launch("fill_rows", w.grid, dim3(kThreads), 0, stream, w.wide ? fill_rows_kernel<4> : fill_rows_kernel<1>, y, ldy,
                    bias, w.rows, w.cols);
}

template <class To>
int launch_convert_to(const float* x, int64_t ldx, int64_t rows, int64_t cols, uint16_t* out, kx::Stream stream) {
  // Four results are stored at once where every row of the output starts at a multiple of four.
  const Walk w = walk(rows, cols, kThreads, {{x, ldx}});
  const bool wide = w.wide && (w.rows == 1 || w.cols % 4 == 0) && reinterpret_cast<uintptr_t>(out) % 8 == 0;
  const dim3 grid = wide == w.wide ? w.grid : elementwise_grid(w.rows, w.cols, kThreads);
  return kx::launch("convert", grid, dim3(kThreads), 0, stream, wide ? convert_kernel<To, 4> : convert_kernel<To, 1>, x, ldx,
                    out, w.rows, w.cols);
}

int launch_convert(const float* x, int64_t ldx, int64_t rows, int64_t cols, sage::cuda::Number to, void* out,
                   kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  auto* target = static_cast<uint16_t*>(out);
  return to == sage::cuda::Number::kFloat16 ? launch_convert_to<ToFloat16>(x, ldx, rows, cols, target, stream)
                                            : launch_convert_to<ToBfloat16>(x, ldx, rows, cols, target, stream);
}

// Four columns a thread, in whole warps.
dim3 norm_threads(int64_t cols) {
  return dim3(static_cast<unsigned>(std::min<int64_t>(divide_up(divide_up(cols, 4), 32) * 32, kMostNormThreads)));
}
constexpr int64_t kMostStagedBytes =
    32 << 10;  // a row's share of shared memory: longer ones would leave too few blocks a processor

int launch_rms_norm(const float* x, int64_t ldx, const float* gamma, float eps, float* y, int64_t ldy, int64_t rows,
                    int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const auto bytes = cols * static_cast<int64_t>(sizeof(float));
  const bool staged = bytes <= kMostStagedBytes;
  return kx::launch("rms_norm", dim3(static_cast<unsigned>(rows)), norm_threads(cols), staged ? static_cast<size_t>(bytes) : 0,
                    stream, staged ? rms_norm_kernel<true> : rms_norm_kernel<false>, x, ldx, gamma, eps, y, ldy, cols);
}

int launch_layer_norm(const float* x, int64_t ldx, const float* gamma, const float* beta, float eps, float* y, int64_t ldy,
                      int64_t rows, int64_t cols, kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const auto bytes = cols * static_cast<int64_t>(sizeof(float));
  const bool staged = bytes <= kMostStagedBytes;
  return kx::launch("layer_norm", dim3(static_cast<unsigned>(rows)), norm_threads(cols),
                    staged ? static_cast<size_t>(bytes) : 0, stream,
                    staged ? layer_norm_kernel<true> : layer_norm_kernel<false>, x, ldx, gamma, beta, eps, y, ldy, cols);
}

int launch_rotary(float* x, int64_t ldx, int64_t rows, int64_t heads, int64_t half, const double* inv_freq, float factor,
                  int64_t first_position, float* angles, kx::Stream stream) {
  if (rows <= 0 || heads <= 0 || half <= 0) return 0;
  auto* pairs = reinterpret_cast<float2*>(angles);
  for (int64_t first = 0; first < half; first += Frequencies::kMost) {
    Frequencies f{};
    f.count = static_cast<int>(std::min<int64_t>(half - first, Frequencies::kMost));
    for (int i = 0; i < f.count; ++i)
      f.value[i] = static_cast<float>(inv_freq[first + i]);
    const int threads = 64;
    const int code = kx::launch("rotary_angles", elementwise_grid(rows, f.count, threads), dim3(threads), 0, stream,
                                rotary_angles_kernel, f, first, factor, first_position, rows, half, pairs);
    if (code != 0) return code;
  }
  constexpr dim3 kBlock(32, 8);
  return kx::launch("rotate", elementwise_grid(divide_up(rows, kBlock.y), half, kBlock.x), kBlock, 0, stream, rotate_kernel, x,
                    ldx, static_cast<const float2*>(pairs), rows, heads, half);
}

sage::cuda::ForwardKernels forward_kernels() {
  sage::cuda::ForwardKernels k;
  k.add = launch_add;
  k.silu_mul = launch_silu_mul;
  k.relu = launch_relu;
  k.gelu = launch_gelu;
  k.fill_rows = launch_fill_rows;
  k.convert = launch_convert;
  k.rms_norm = launch_rms_norm;
  k.layer_norm = launch_layer_norm;
  k.rotary = launch_rotary;
  return k;
}

}  // namespace
}  // namespace KX_NAMESPACE
