// The launch of sum_columns_kernel (device/moments.cuh), shared by the wrappers that fold down columns.
#pragma once

#include "kernels/cuda/device/moments.cuh"
#include "kernels/cuda/launch/grid.h"

namespace KX_NAMESPACE {
namespace {

// `bands` bands of the rows, then the bands. parts: bands * cols.
template <class T, class Source>
int sum_columns(const char* name, const Source& source, int64_t rows, int64_t cols, int64_t bands, T* parts, T* out,
                kx::Stream stream) {
  if (cols <= 0) return 0;
  const dim3 block(kColumnLanes, kRowLanes);
  const auto tiles = static_cast<unsigned>(divide_up(cols, kColumnLanes));
  const int code = kx::launch(name, dim3(tiles, static_cast<unsigned>(bands)), block, 0, stream, sum_columns_kernel<T, Source>,
                              source, rows, cols, divide_up(rows, bands), bands == 1 ? out : parts);
  if (code != 0 || bands == 1) return code;
  return kx::launch(name, dim3(tiles), block, 0, stream, sum_columns_kernel<T, Parts<T>>, Parts<T>{parts, cols}, bands, cols,
                    bands, out);
}

}  // namespace
}  // namespace KX_NAMESPACE
