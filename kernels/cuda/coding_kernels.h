// Launch wrappers of the kernels that code columns (block_coder.h). Conventions: kernel_table.h.
#pragma once

#include <cstdint>

#include "core/backend/block_coder.h"
#include "kernels/cuda/api.h"

namespace sage::cuda {

// An ElementCode on the device. The unit of weight (i, c) of the block is
//   row_units * i + unit of the column + row_labels[i * row_label_step + block of the column] + label of the weight
// where parts it does not have are 0.
struct DeviceCode {
  ElementCode::Kind kind;
  int planes;
  bool keep_zero, merged, plain, midrise, shifted;
  float largest, offset;
  const float* parameters;
  int stride;  // parameters of a unit
  int64_t row_units;
  const uint32_t* row_labels;  // null: none
  int64_t row_label_step;
  bool weight_labels;
};
struct DeviceColumn {
  int code[2];  // in either slot; -1: none
  uint32_t unit[2], block[2];
};

// Device memory; the fields are those of BlockCoder::code_block.
struct CodingArguments {
  WeightView w;
  const DeviceCode* codes;
  const DeviceColumn* columns;
  const uint64_t* second;  // bit c % 64 of word i * row_words + c / 64: the weight is coded in the second slot. null: none is
  int64_t row_words;       // 0: one row of words serves all
  const uint8_t* labels;   // rows x cols; null: no code has such
  int planes;
  bool steps;  // whether any code is of kind kSteps
  Correction correction;
  WeightView u;
  View<float> decoded;
  View<uint8_t> symbols;
  View<float> error;
};

struct CodingKernels {
  int (*code_block)(const CodingArguments& arguments, Stream stream) = nullptr;
};

CodingKernels compiled_coding_kernels();
CodingKernels emulated_coding_kernels();

}  // namespace sage::cuda
