// Launch shapes shared by the wrappers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cuda_on_cpu/executor/kernel.h"

namespace KX_NAMESPACE {

constexpr int64_t kMostBlocksY = 65535;  // of a grid's second extent

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One thread a column (strided beyond 1024 blocks), one block row a matrix row (strided beyond the limit of grids).
inline dim3 elementwise_grid(int64_t rows, int64_t cols, int threads) {
  return dim3(static_cast<unsigned>(std::min<int64_t>(divide_up(cols, threads), 1024)), static_cast<unsigned>(std::min(rows, kMostBlocksY)));
}

}  // namespace KX_NAMESPACE
