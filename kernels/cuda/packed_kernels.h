// Launch wrappers of the kernels for packed 1-bit matrices, and the device layout they share. Conventions: kernel_table.h.
//
// The value of weight (i, j), b = j / block_columns:
//   unsalient: (shift[u] + sign scale[u]) column_scale[j] row_factor[i] column_factor[j],  u = i scale_row_stride + b groups +
//   id salient:   v row_factor[i] column_factor[j]
// Factors whose pointer is null are 1, shifts 0. Bits per weight: 1 for the sign and 1 for each id plane, both rounded up to
// 128 columns; 16 or 32 for each scale and shift; for each salient weight 16 or 32 of column and 16 or 32 of value; 64 per row.
//
// Salient positions hold zeros in every plane, that is, code 0: +scale of group 0. The products of the planes count them so,
// and the product of the salient list adds (v - level of code 0) x, so that planes need no mask and no third state.
#pragma once

#include <cstdint>

#include "kernels/cuda/api.h"

namespace sage::cuda {

inline constexpr int kMostIdPlanes = 3;
inline constexpr int kActivationPlanes = 8;  // bits of an int8 activation, two's complement

struct PackedView {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t words = 0;  // 32-bit words of one row of a plane: a multiple of 4, the bits past the last column are 0
  int id_planes = 0;  // 0 .. kMostIdPlanes
  // Bit j % 32 of word j / 32. Row i of plane p begins at (p rows + i) words. Plane 0: 1 = negative; plane 1 + k: bit k of the
  // id.
  const uint32_t* planes = nullptr;

  int64_t block_columns = 0;  // a multiple of 32; 0: one block
  int64_t blocks = 1;
  int groups = 1;                // of a block, at most 2^id_planes
  int64_t scale_row_stride = 0;  // blocks * groups, or 0: all rows share their scales
  const void* scales = nullptr;
  const void* shifts = nullptr;
  bool wide_numbers = false;  // scales and shifts are FP32, else FP16

  const float* column_scale = nullptr;
  const float* row_factor = nullptr;
  const float* column_factor = nullptr;

  const int64_t* salient_begin = nullptr;  // rows + 1 entries; null: nothing is salient
  const void* salient_columns = nullptr;
  const void* salient_values = nullptr;
  bool wide_columns = false;  // columns are 32-bit, else 16-bit
  bool wide_values = false;   // values are FP32, else FP16
};

// Bits of weights in row-major order: bit j of row i is bit i * pitch + j. pitch 0: all rows share one row of bits. bits ==
// nullptr: none is set. The memory must reach one 32-bit word past the word of the last bit.
struct SalientBits {
  const uint32_t* bits = nullptr;
  int64_t pitch = 0;
};
// Columns [first, first + count) of a matrix.
struct ColumnRange {
  int64_t first = 0;
  int64_t count = 0;
};
// Symbol k is bits [k width, (k + 1) width); only its lowest `planes` bits are used. The memory reaches one word further.
struct SymbolStream {
  const uint32_t* bits = nullptr;
  int width = 1;      // 1 .. 8
  int64_t first = 0;  // number of the first symbol to use
};

// An activation vector as int8: x[j] is about step * q[j], |q| <= 127.
struct QuantizedActivations {
  uint32_t* planes = nullptr;  // kActivationPlanes x words: bit b of q[j] is bit j % 32 of word j / 32 of plane b
  int32_t* sums = nullptr;     // of q over 128 columns, words / 4 entries
  float* step = nullptr;       // one
};

struct PackedKernels {
  // begin[i] = weights of rows before i in the columns that are salient (or unsalient); begin[rows] = all. rows + 1 entries.
  int (*count_weights)(SalientBits mask, int64_t rows, ColumnRange columns, bool salient, int64_t* begin,
                       Stream stream) = nullptr;
  // Symbols of the unsalient weights of `columns`, row-major, to bit planes: bit p of a symbol to planes[p]. `begin` counts the
  // unsalient weights. columns.first is a multiple of 32; writes whole words up to the column `end` (a multiple of 32).
  int (*unpack_planes)(SymbolStream symbols, SalientBits mask, const int64_t* begin, int64_t rows, ColumnRange columns,
                       int64_t end, int planes, uint32_t* out, int64_t words, Stream stream) = nullptr;
  // The columns of the salient weights, row-major, as 16-bit (or, wide, 32-bit) numbers.
  int (*list_salient)(SalientBits mask, const int64_t* begin, int64_t rows, int64_t cols, void* columns, bool wide,
                      Stream stream) = nullptr;
  // Rows [first, first + count) as FP32, exactly the values of the formula above in its order of operations.
  int (*dequantize)(const PackedView& a, int64_t first, int64_t count, float* out, int64_t ld, Stream stream) = nullptr;

  // out[j] = x[j] * factor[j]
  int (*scale_activations)(const float* x, const float* factor, int64_t n, float* out, Stream stream) = nullptr;
  // step = max |x| / 127, q = round(x / step) to nearest even. x finite.
  int (*quantize_activations)(const float* x, int64_t n, int64_t words, const QuantizedActivations& out,
                              Stream stream) = nullptr;

  // y = A x. `plane_x` = x column_factor column_scale is what planes multiply, `salient_x` = x column_factor what the salient
  // list does (the same memory where there is no column_scale).
  int (*gemv_signflip)(const PackedView& a, const float* plane_x, const float* salient_x, float* y, Stream stream) = nullptr;
  // The same with quantized plane_x; the correction of salient weights uses FP32. block_columns: a multiple of 128.
  int (*gemv_popc)(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
                   Stream stream) = nullptr;
  // One block only.
  int (*gemv_bmma)(const PackedView& a, const QuantizedActivations& q, const float* plane_x, const float* salient_x, float* y,
                   Stream stream) = nullptr;
};

// Tables of the two builds; `compiled` exists only in builds with CUDA.
PackedKernels compiled_packed_kernels();
PackedKernels emulated_packed_kernels();

}  // namespace sage::cuda
