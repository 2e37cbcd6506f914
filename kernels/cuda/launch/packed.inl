// Launch wrappers of the kernels for packed matrices; included by compiled/packed.cu (nvcc) and kernels/cuda_on_cpu/packed.cpp
// (executor).
#include "kernels/cuda/device/dequantize_gemm.cuh"
#include "kernels/cuda/device/gemv_bmma.cuh"
#include "kernels/cuda/device/gemv_popc.cuh"
#include "kernels/cuda/device/gemv_signflip.cuh"
#include "kernels/cuda/launch/grid.h"
#include "kernels/cuda/packed_kernels.h"

namespace KX_NAMESPACE {
namespace {

constexpr int kPackedThreads = 256;
constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue

dim3 blocks(int64_t n) { return dim3(static_cast<unsigned>(n)); }
// A warp a row, strided beyond 2^16 blocks.
dim3 row_grid(int64_t rows) { return blocks(std::min<int64_t>(divide_up(rows, kPackedThreads / 32), 1 << 16)); }

int launch_count_weights(SalientBits mask, int64_t rows, ColumnRange columns, bool salient, int64_t* begin, kx::Stream stream) {
  if (rows <= 0) return 0;
  const int error = kx::launch("count_weights", row_grid(rows), dim3(kPackedThreads), 0, stream, count_weights_kernel, mask,
                               rows, columns, salient, begin);
  if (error != 0) return error;
  return kx::launch("exclusive_sum", dim3(1), dim3(1024), 0, stream, exclusive_sum_kernel, begin, rows);
}

int launch_unpack_planes(SymbolStream symbols, SalientBits mask, const int64_t* begin, int64_t rows, ColumnRange columns,
                         int64_t end, int planes, uint32_t* out, int64_t words, kx::Stream stream) {
  if (rows <= 0 || end <= columns.first) return 0;
  if (columns.first % 32 != 0 || end % 32 != 0 || planes > sage::cuda::kMostIdPlanes) return kInvalidValue;
  return kx::launch("unpack_planes", row_grid(rows), dim3(kPackedThreads), 0, stream, unpack_planes_kernel, symbols, mask,
                    begin, rows, columns, end, planes, out, words);
}

int launch_list_salient(SalientBits mask, const int64_t* begin, int64_t rows, int64_t cols, void* columns, bool wide,
                        kx::Stream stream) {
  if (rows <= 0 || cols <= 0) return 0;
  const ColumnRange all{0, cols};
  if (wide)
    return kx::launch("list_salient", row_grid(rows), dim3(kPackedThreads), 0, stream, list_salient_kernel<uint32_t>, mask,
                      begin, rows, all, static_cast<uint32_t*>(columns));
  return kx::launch("list_salient", row_grid(rows), dim3(kPackedThreads), 0, stream, list_salient_kernel<uint16_t>, mask, begin,
                    rows, all, static_cast<uint16_t*>(columns));
}

int launch_dequantize(const PackedView& a, int64_t first, int64_t count, float* out, int64_t ld, kx::Stream stream) {
  if (count <= 0 || a.cols <= 0) return 0;
  return kx::launch("dequantize", blocks(std::min<int64_t>(count, 1 << 16)), dim3(kPackedThreads), 0, stream, dequantize_kernel,
                    a, first, count, out, ld);
}

int launch_scale_activations(const float* x, const float* factor, int64_t n, float* out, kx::Stream stream) {
  if (n <= 0) return 0;
  return kx::launch("scale_activations", elementwise_grid(1, n, kPackedThreads), dim3(kPackedThreads), 0, stream,
                    scale_activations_kernel, x, factor, n, out);
}

int launch_quantize_activations(const float* x, int64_t n, int64_t words, const QuantizedActivations& out, kx::Stream stream) {
  if (n <= 0) return 0;
  return kx::launch("quantize_activations", dim3(1), dim3(kPackedThreads), 0, stream, quantize_activations_kernel, x, n, words,
                    out);
}

template <Levels kLevels>
int signflip_by_ids(const PackedView& a, const float* plane_x, const float* salient_x, float* y, kx::Stream stream) {
  const dim3 grid = blocks(divide_up(a.rows, kSignflipWarps * kSignflipRows)), block(kSignflipWarps * 32);
  const auto run = [&](auto kernel) {
    return kx::launch("gemv_signflip", grid, block, 0, stream, kernel, a, plane_x, salient_x, y);
  };
  if constexpr (kLevels == Levels::kFlip) {
    return run(gemv_signflip_kernel<kLevels, 0>);
  } else {
    switch (a.id_planes) {
      case 0: return run(gemv_signflip_kernel<kLevels, 0>);
      case 1: return run(gemv_signflip_kernel<kLevels, 1>);
      case 2: return run(gemv_signflip_kernel<kLevels, 2>);
      case 3: return run(gemv_signflip_kernel<kLevels, 3>);
      default: return kInvalidValue;
    }
  }
}

int launch_gemv_signflip(const PackedView& a, const float* plane_x, const float* salient_x, float* y, kx::Stream stream) {
  if (a.rows <= 0) return 0;
  if (a.id_planes == 0 && a.shifts == nullptr) return signflip_by_ids<Levels::kFlip>(a, plane_x, salient_x, y, stream);
  return a.blocks == 1 ? signflip_by_ids<Levels::kShared>(a, plane_x, salient_x, y, stream)
                       : signflip_by_ids<Levels::kGlobal>(a, plane_x, salient_x, y, stream);
}

template <int kIds, bool kShift, bool kBlocks>
int popc_of(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
            kx::Stream stream) {
  constexpr int kRows = kProducts<kIds, kShift> <= 2 ? 4 : kProducts<kIds, kShift> <= 8 ? 2 : 1;  // by the registers sums take
  return kx::launch("gemv_popc", blocks(divide_up(a.rows, kPopcWarps * kRows)), dim3(kPopcWarps * 32), 0, stream,
                    gemv_popc_kernel<kIds, kShift, kBlocks, kRows>, a, q, plane_x, salient_x, y);
}
template <int kIds>
int popc_by_kind(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
                 kx::Stream stream) {
  if (a.blocks > 1)
    return a.shifts != nullptr ? popc_of<kIds, true, true>(a, q, plane_x, salient_x, y, stream)
                               : popc_of<kIds, false, true>(a, q, plane_x, salient_x, y, stream);
  return a.shifts != nullptr ? popc_of<kIds, true, false>(a, q, plane_x, salient_x, y, stream)
                             : popc_of<kIds, false, false>(a, q, plane_x, salient_x, y, stream);
}
int launch_gemv_popc(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
                     kx::Stream stream) {
  if (a.rows <= 0) return 0;
  if (a.blocks > 1 && a.block_columns % 128 != 0) return kInvalidValue;
  switch (a.id_planes) {
    case 0: return popc_by_kind<0>(a, q, plane_x, salient_x, y, stream);
    case 1: return popc_by_kind<1>(a, q, plane_x, salient_x, y, stream);
    case 2: return popc_by_kind<2>(a, q, plane_x, salient_x, y, stream);
    case 3: return popc_by_kind<3>(a, q, plane_x, salient_x, y, stream);
    default: return kInvalidValue;
  }
}

template <int kIds>
int bmma_by_kind(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
                 kx::Stream stream) {
  const dim3 grid = blocks(divide_up(a.rows, kBmmaWarps * kBmmaRows)), block(kBmmaWarps * 32);
  return a.shifts != nullptr
             ? kx::launch("gemv_bmma", grid, block, 0, stream, gemv_bmma_kernel<kIds, true>, a, q, plane_x, salient_x, y)
             : kx::launch("gemv_bmma", grid, block, 0, stream, gemv_bmma_kernel<kIds, false>, a, q, plane_x, salient_x, y);
}
int launch_gemv_bmma(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
                     kx::Stream stream) {
  if (a.rows <= 0) return 0;
  if (a.blocks > 1) return kInvalidValue;
  switch (a.id_planes) {
    case 0: return bmma_by_kind<0>(a, q, plane_x, salient_x, y, stream);
    case 1: return bmma_by_kind<1>(a, q, plane_x, salient_x, y, stream);
    case 2: return bmma_by_kind<2>(a, q, plane_x, salient_x, y, stream);
    case 3: return bmma_by_kind<3>(a, q, plane_x, salient_x, y, stream);
    default: return kInvalidValue;
  }
}

sage::cuda::PackedKernels packed_kernels() {
  return {launch_count_weights,        launch_unpack_planes, launch_list_salient, launch_dequantize, launch_scale_activations,
          launch_quantize_activations, launch_gemv_signflip, launch_gemv_popc,    launch_gemv_bmma};
}

}  // namespace
}  // namespace KX_NAMESPACE
